"""Environment variables that say how to compute."""

from __future__ import annotations

import os


def kernels_wanted() -> bool:
    """False if MUSICVIDEO_KERNELS=0: BigGAN is then drawn by OpenVINO or torch instead of by our own kernels."""
    return os.environ.get("MUSICVIDEO_KERNELS", "1") != "0"
