"""Turns music into a music video: sound in `musicvideo.sound`, pictures in `musicvideo.vision`."""

__version__ = "0.1.0"
