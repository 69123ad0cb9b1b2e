"""librosa, with a lock while its compiled modules are imported.

    from musicvideo.vision import locked_librosa as librosa

numba keeps a compiled gufunc as two files in its cache: a kernel, and a wrapper that finds its kernel by a name. The
name has a number that depends on what the process had compiled before. Two processes that compile at once can leave the
kernel of one and the wrapper of the other; every later process then ends with a segmentation fault. Gufuncs are
compiled when their module is imported, so a lock is held meanwhile.
"""

from __future__ import annotations

import fcntl
import importlib
import os
from contextlib import suppress
from typing import Any

import librosa  # its submodules are imported when they are first used

# Modules with gufuncs that others of librosa import. `librosa.beat` has some too, and is imported by its own name.
COMPILED = ("librosa.util.utils", "librosa.core.audio", "librosa.core.pitch")


def __getattr__(name: str) -> Any:
    """A member of librosa."""
    if name.startswith("__"):  # what Python asks any module for
        raise AttributeError(name)
    # A lock needs no file of its own, and this one is that of the environment whose cache is filled. On NFS it has to
    # be open for writing.
    with open(librosa.__file__, "r+" if os.access(librosa.__file__, os.W_OK) else "r") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        for module in COMPILED:
            importlib.import_module(module)
        found = getattr(librosa, name)
    globals()[name] = found
    return found
