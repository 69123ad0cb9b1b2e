"""The exception whose message people see."""


class MediaError(Exception):
    """States in one line which input is wrong, why, and what to do."""


class DiskFull(MediaError):
    """A program found no space left for what it writes; `musicvideo.files.atomic` adds the name of the place."""
