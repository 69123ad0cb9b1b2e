"""A generator that takes no time, to test the code around generators."""

from __future__ import annotations

import numpy as np

from musicvideo.vision.latents import Trajectory


class Stub:
    """One flat colour a picture: red and green from the noise, blue from the weight of the first class."""

    labels = tuple(f"colour {index}" for index in range(20))
    noise_dim = 4
    runs_on = "numpy"
    computed_by = {"backend": "numpy"}

    def __init__(self, resolution: int = 16):
        self.resolution = resolution

    def frames(self, noise, classes):
        assert noise.shape[1:] == (self.noise_dim,) and classes.shape[1:] == (len(self.labels),)
        colour = np.column_stack([noise[:, :2] / 4 + 0.5, classes[:, 0]])
        pixels = np.round(255 * np.clip(colour, 0, 1)).astype(np.uint8)
        return np.broadcast_to(pixels[:, None, None], (len(pixels), self.resolution, self.resolution, 3))


def drifting(duration: float, grid_rate: float = 50.0) -> Trajectory:
    """A path with a different colour at every moment."""
    time = np.arange(int(duration * grid_rate) + 1) / grid_rate
    noise = np.stack([np.sin(time), np.cos(1.3 * time), time, time], axis=1)
    weights = np.stack([(time / 3) % 1, np.ones_like(time)], axis=1)
    return Trajectory(noise=noise, weights=weights, classes=(0, 5), grid_rate=grid_rate, duration=duration)


def flashing(duration: float, flashes, grid_rate: float = 100.0) -> Trajectory:
    """A black path that is white for a fifth of a second from each of `flashes`, seconds on the grid."""
    level = np.full(int(duration * grid_rate) + 1, -2.0)
    for flash in flashes:
        start = round(flash * grid_rate)
        level[start : start + round(grid_rate / 5)] = 2.0
    noise = np.repeat(level[:, None], Stub.noise_dim, axis=1)
    weights = np.where(level[:, None] > 0, 1.0, 0.0)
    return Trajectory(noise=noise, weights=weights, classes=(0,), grid_rate=grid_rate, duration=duration)
