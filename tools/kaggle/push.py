"""`./run_all.sh kaggle-push`: runs notebooks on Kaggle's GPU, in private kernels."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from requests.exceptions import HTTPError, RequestException
from urllib3.exceptions import ProtocolError

from helpers.machinery.files import LabError, cache_dir, read_json, write_atomically
from helpers.machinery.profiles import load_profile
from tools.common.command_line import Parser, run_command
from tools.common.notebooks import Lab, shared_files
from tools.kaggle.client import asking, explained, sign_in
from tools.kaggle.data import DATA_SET

PROFILE = "full"
HELPERS = "musiclab-helpers"
GPU = "NvidiaTeslaT4"  # two of them: Kaggle has no single one
LAST_LINES = 12  # of the log of a kernel that failed
METADATA = "kernel-metadata.json"
NOBODY = "USERNAME"  # stands for the user in a dry run, which needs no token
POLL_SECONDS = 30.0
# Beside the shared files; pyproject.toml tells notebook 00 which versions fit.
ABOUT_THE_KIT = ("pyproject.toml", "LICENSE")


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code. Raises LabError for all that goes wrong."""
    lab, options = Lab(), _parser().parse_args(list(arguments))
    chosen = {lab.find(word) for word in options.notebooks} or set(lab.names)
    names = [name for name in lab.names if name in chosen]
    client = None if options.dry_run else sign_in()
    user = client.config_values["username"] if client else NOBODY
    folder = prepare(lab, names, user)
    minutes = int(load_profile(PROFILE).sections["runner"]["timeout_minutes"])
    print(
        f"{len(names)} kernels, one after the other, use at most {len(names) * minutes / 60:g} of "
        f"the week's GPU hours: after {minutes} minutes Kaggle stops one"
    )
    if client is None:
        print(f"dry run, nothing was sent; it lies in {folder}")
        return 0
    tell_quota(client)
    push_helpers(client, folder / HELPERS, f"{user}/{HELPERS}")
    push_notebooks(client, names, folder, minutes)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="./run_all.sh kaggle-push",
        description=f"Run notebooks on Kaggle with the profile {PROFILE!r}, in private kernels "
        "with two T4 GPUs, without internet, and follow what they print. A notebook is pushed when "
        "those it needs have run there.",
    )
    add = parser.add_argument
    add("notebooks", metavar="NN", nargs="*", help="by number or name (default: all)")
    add("--dry-run", action="store_true", help="prepare and show everything, and send nothing")
    return parser


def prepare(lab: Lab, names: Sequence[str], user: str, profile: str = PROFILE) -> Path:
    """Write the data set with the helpers, and a folder per notebook; returns what holds them.

    Prints what each will be on Kaggle.
    """
    folder = cache_dir() / "kaggle"
    files = [*shared_files(lab.root), *(lab.root / name for name in ABOUT_THE_KIT)]
    shutil.rmtree(folder, ignore_errors=True)
    # In a folder of its own: Kaggle unpacks it beside, or into, one of that name, and the first
    # cell of a notebook finds `helpers` in both.
    for path in files:
        target = folder / HELPERS / "kit" / path.relative_to(lab.root)
        write_atomically(target, path.read_bytes())
    about = {
        "title": HELPERS.replace("-", " "),
        "id": f"{user}/{HELPERS}",
        "licenses": [{"name": "other"}],
        "description": "The helpers of the course kit musiclab. MIT licence, see kit/LICENSE.",
    }
    write_atomically(folder / HELPERS / "dataset-metadata.json", json.dumps(about, indent=1))
    print(f"data set {HELPERS}, private: {len(files)} files")
    chosen = load_profile(profile)
    for name in names:
        # As the runner does it, since a kernel on Kaggle has no environment variables.
        notebook = load_notebook_node(str(lab.read(name).path))
        comment = f"The profile {profile!r}."
        notebook = parameterize_notebook(notebook, chosen.overrides(name), comment=comment)
        write_atomically(folder / slug(name) / f"{name}.ipynb", nbformat.writes(notebook))
        needs = [f"{user}/{slug(need)}" for need in lab.needs(name)]
        metadata = {
            "id": f"{user}/{slug(name)}",
            "title": slug(name).replace("-", " "),  # which must give the same address as the id
            "code_file": f"{name}.ipynb",
            "language": "python",
            "kernel_type": "notebook",
            "is_private": True,
            "enable_gpu": True,
            "machine_shape": GPU,
            "enable_internet": False,
            "dataset_sources": [DATA_SET, f"{user}/{HELPERS}"],
            "competition_sources": [],
            "kernel_sources": needs,
        }
        write_atomically(folder / slug(name) / METADATA, json.dumps(metadata, indent=1))
        after = ", ".join(needs) or "no other kernel"
        print(f"kernel {user}/{slug(name)}, private, {GPU} (T4 x2), profile {profile}: {after}")
    return folder


def slug(name: str) -> str:
    """How a notebook's kernel is called on Kaggle, in its address."""
    return f"musiclab-{name}".replace("_", "-")


def push_helpers(client: Any, folder: Path, ref: str) -> None:
    """Create the private data set, or a new version of it, and wait until Kaggle can mount it."""
    what = f"data set {ref}"
    with asking(what):
        if _is_there(client, ref):
            response = client.dataset_create_version(str(folder), "as it is now", dir_mode="zip")
        else:
            response = client.dataset_create_new(str(folder), public=False, dir_mode="zip")
        if response.error:
            raise LabError(f"{what}: not accepted by Kaggle ({response.error}); try again")
        time.sleep(POLL_SECONDS)  # at once, the state would be that of the version before
        while (state := client.dataset_status(ref)) != "ready":
            if state == "failed":
                raise LabError(f"{what}: Kaggle could not unpack it; give the command again")
            time.sleep(POLL_SECONDS)
    print(f"{what}: ready")


def _is_there(client: Any, data_set: str) -> bool:
    try:
        client.dataset_status(data_set)
    except HTTPError as error:
        if error.response is not None and error.response.status_code in (403, 404):
            return False  # Kaggle hides what is not there
        raise
    return True


def tell_quota(client: Any) -> None:
    """Say how many hours of Kaggle's GPUs are left this week. Raises LabError when none are."""
    try:
        answer = client.quota_view()
    except RequestException as error:
        print(f"note: {explained(error, 'the GPU quota')}")
        return
    if quota := answer.gpu_quota:
        hour = timedelta(hours=1)
        used, allowed = quota.time_used / hour, quota.total_time_allowed / hour
        refreshed = answer.quota_refresh_time
        begins = f"{refreshed:%d %b %H:%M} UTC" if refreshed else "soon"
        print(f"GPU hours of this week: {used:.1f} of {allowed:.0f} used; the next begins {begins}")
        if used >= allowed:
            again = f"give the same command again: {begins}"
            raise LabError(f"no GPU hours are left on Kaggle; {again}")


def push_notebooks(client: Any, names: Sequence[str], folder: Path, minutes: int) -> None:
    """Push kernels in the order of the lab, one at a time: Kaggle runs few with a GPU side by side.

    Those that a notebook needs must have run; they are waited for. Each is followed to its end, or
    stopped by Kaggle after so many minutes. Raises LabError that names the notebooks left to push
    when one fails.
    """
    for number, name in enumerate(names):
        left = [other.partition("_")[0] for other in names[number:]]
        about = read_json(folder / slug(name) / METADATA)
        try:
            for kernel in about["kernel_sources"]:
                _wait_for(client, kernel)
            url = _push(client, folder / slug(name), minutes)
            print(f"{name}: pushed, {url}", flush=True)
            time.sleep(POLL_SECONDS)  # at once, the state would be that of the version before
            try:
                _wait_for(client, about["id"])
            except KeyboardInterrupt:
                left = left[1:]
                raise
            tell_quota(client)
        except LabError as error:
            go_on = f", then go on with ./run_all.sh kaggle-push {' '.join(left)}"
            raise LabError(f"{error}{go_on}") from error
        except KeyboardInterrupt:
            go_on = f"; then go on with ./run_all.sh kaggle-push {' '.join(left)}" if left else ""
            print(f"what was pushed goes on at Kaggle{go_on}", file=sys.stderr)
            raise


def _push(client: Any, folder: Path, minutes: int) -> str:
    """Push one kernel; its address. Raises LabError when Kaggle does not take it as it is."""
    with asking(folder.name):
        response = client.kernels_push(str(folder), timeout=str(60 * minutes))
    unknown = [*(response.invalid_dataset_sources or []), *(response.invalid_kernel_sources or [])]
    problem = response.error or (f"does not know {', '.join(unknown)}" if unknown else "")
    if problem:
        raise LabError(f"{folder.name}: not taken by Kaggle ({problem}); mend that")
    return str(response.url)


def _wait_for(client: Any, kernel: str) -> None:
    """Follow a kernel to its end. Raises LabError, below its last lines, when it failed."""
    url = f"https://www.kaggle.com/code/{kernel}"
    n_shown = 0
    for times_asked in count():
        try:
            with asking(kernel):
                response = client.kernels_status(kernel)
        except ValueError as error:  # how the client says that it is not there
            raise LabError(f"{kernel}: is not on Kaggle yet; push it first") from error
        state = response.status.name
        new = islice(_printed(client, kernel), n_shown, None)
        if state in ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED"):
            print(*deque(new, LAST_LINES), sep="", end="", flush=True)
            reason = response.failure_message or state.lower().replace("_", " ")
            raise LabError(f"{url}: did not run to its end ({reason}); mend it")
        if state != "COMPLETE" and not times_asked:
            print(f"waiting for {url}", flush=True)
        if state == "RUNNING" or (state == "COMPLETE" and times_asked):
            for line in new:
                print(line, end="", flush=True)
                n_shown += 1
        if state == "COMPLETE":
            return
        time.sleep(POLL_SECONDS)


def _printed(client: Any, kernel: str) -> Iterator[str]:
    """What a kernel prints, line by line, until it, or the connection, ends."""
    # It has not begun, or the connection broke off: the kernel's state is asked again.
    with suppress(RequestException, ProtocolError, ValueError):
        for event in client.kernels_logs_stream(kernel):
            if event.get("data"):
                yield f"  | {event['data'].rstrip()}\n"


if __name__ == "__main__":
    sys.exit(run_command(main))
