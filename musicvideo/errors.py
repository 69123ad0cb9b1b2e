"""The one exception that people see."""


class MediaError(Exception):
    """What is wrong with which input, and what to do about it, in one line."""


class DiskFull(MediaError):
    """A program found no space left for what it writes; `musicvideo.files.atomic` adds the name of the place."""
