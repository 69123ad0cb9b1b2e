"""What the tests of training share."""

import atexit
import os
import shutil
import tempfile

# Keeps cache files out of the user's cache. Together with the product's tests their cache is used.
if "musicvideo-tests-" not in os.environ.get("XDG_CACHE_HOME", ""):
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="musicvideo-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in tests/conftest.py
