"""The peak of a process's memory."""

import re
import resource
import sys
from pathlib import Path


def peak() -> float:
    """Megabytes that this process held at most so far."""
    try:
        # Not `ru_maxrss`, which begins with the peak of the process that started this one.
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
