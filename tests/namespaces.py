"""Whether this machine allows mount namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def may_unshare() -> bool:
    """Whether a server can be given mounts of its own, for which one must be root."""
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return os.geteuid() == 0 and tried.returncode == 0
