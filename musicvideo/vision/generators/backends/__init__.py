"""What computes BigGAN's network: kernels of our own or OpenVINO on CPUs, torch on everything else.

`operations` declares what a backend gives the network, and what all backends share. Each `*_backend` module is one
backend. `choosing` takes the fastest on this machine that draws the same pictures.
"""

from musicvideo.vision.generators.backends.choosing import devices, start

__all__ = ["devices", "start"]
