"""Short films that FFmpeg makes by rule: a picture by an expression, and a sound by another."""

from __future__ import annotations

from pathlib import Path

from conftest import make_media

FPS = 25
SECONDS = 12
# Twice in a repeating 3 s, so that no shift by a few frames fits as well; within a frame, not on its edge.
CLICKS = "0.8*(between(mod(t\\,3)\\,0.41\\,0.43)+between(mod(t\\,3)\\,1.81\\,1.83))*sin(2*PI*880*t)"


def film(
    path,
    *,
    picture: str,
    sound: str = CLICKS,
    codec=("-c:v", "ffv1", "-c:a", "pcm_s16le"),
    fps=FPS,
    red: str = "",
    seconds: int = SECONDS,
) -> Path:
    """A film of a grey picture by an expression of T (seconds) and a sound by one of t; "" leaves either out.

    Args:
        path: to write.
        picture: of 255; or
        red: of a red picture instead, of 255.
        sound: of full scale 1.
        codec: FFmpeg's options.
        fps: frames a second.
        seconds: of the film.
    """
    inputs, length = [], ["-t", str(seconds)]
    if picture or red:
        drawn = f"gbrp,geq=r='{red}':g=0:b=0" if red else f"gray,geq=lum='{picture}'"
        inputs += [*length, "-f", "lavfi", "-i", f"nullsrc=s=96x64:r={fps},format={drawn}"]
    if sound:
        inputs += [*length, "-f", "lavfi", "-i", f"aevalsrc={sound}:s=44100"]
    return make_media(path, *inputs, *codec)


def steps(late: float) -> str:
    """A picture that becomes brighter with every other click and darker with the rest, so many seconds late."""
    return f"60+90*between(mod(T-{late - 3}\\,3)\\,0.399\\,1.799)"
