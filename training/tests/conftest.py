"""What the tests of training share."""

import atexit
import os
import shutil
import tempfile

# What is remembered stays out of the cache of whoever runs the tests; beside the tests of the product it is theirs.
if "musicvideo-tests-" not in os.environ.get("XDG_CACHE_HOME", ""):
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="musicvideo-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
