"""`./run_all.sh lab`: opens JupyterLab on the lab's folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from helpers.machinery.files import cache_dir
from tools.common.command_line import run_command
from tools.common.notebooks import Lab, drift
from tools.common.run_folder import first_in, write_kernel_spec


def main(arguments: Sequence[str], lab: Lab | None = None) -> int:
    """Replace this process by JupyterLab on the lab's folder, with this environment's kernel."""
    lab = lab or Lab()
    jupyter = cache_dir() / "jupyter"
    write_kernel_spec(jupyter)
    os.environ["JUPYTER_PATH"] = first_in("JUPYTER_PATH", jupyter)
    refresh_scripts(lab)
    os.chdir(lab.root)
    sys.stdout.flush()
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={lab.root}"]
    os.execv(sys.executable, [*command, *arguments])


def refresh_scripts(lab: Lab) -> list[str]:
    """Mark as new each `.py` that is older than its notebook and says the same; return those.

    jupytext refuses to open a pair whose notebook is the newer one, which is as it should be when
    the two differ; but after a clone or a copy the times say nothing.
    """
    refreshed = []
    for name in lab.names:
        script, notebook = lab.script(name), lab.read(name).path
        older = script.is_file() and script.stat().st_mtime < notebook.stat().st_mtime
        if older and os.access(script, os.W_OK) and not drift(script, notebook):
            os.utime(script)
            refreshed.append(name)
    return refreshed


if __name__ == "__main__":
    sys.exit(run_command(main))
