"""Turns music into a music video: sound in `musicvideo.sound`, pictures in `musicvideo.vision`."""
