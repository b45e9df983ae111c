"""Python as on a machine where the kit is not installed."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def bare_python(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python without `site`: it sees the packages, but no installed `helpers`.

    No .pth file is read, so what is installed as editable is not there; and none of the caller's
    own settings.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MUSICLAB_", "PYTHON"))}
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=cwd,
        env=kept | {"PYTHONPATH": os.pathsep.join(packages)} | env,
        capture_output=True,
        text=True,
        timeout=600,
    )
