"""Run one command in a process group of its own, watch it, and leave nothing of it behind."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from helpers.machinery.process import usable_cores

TICK_SECONDS = 0.5
KILL_WAIT_SECONDS = 5.0
_MIB = 2**20
_CGROUP = Path("/sys/fs/cgroup")


class Outcome(NamedTuple):
    """How a command ended: its exit code, or None when it was stopped because its time was up."""

    exit_code: int | None
    seconds: float
    peak_mb: float


def run_supervised(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    timeout_seconds: float,
    on_tick: Callable[[float], None],
) -> Outcome:
    """Run a command to its end or its time limit; its output goes to the file `log`.

    `on_tick(seconds)` is called about twice a second. The command and all that it starts are killed
    at the limit, and at any exception here: of Ctrl-C, or of `on_tick`, to stop the command. Should
    this process itself be killed, the command sees its standard input end, and stops by itself.
    """
    begin = time.monotonic()
    with (
        open(log, "wb") as output,
        subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        family = _Family(process.pid)
        exit_code = None
        try:
            while exit_code is None and time.monotonic() - begin < timeout_seconds:
                try:
                    exit_code = process.wait(TICK_SECONDS)
                except subprocess.TimeoutExpired:
                    family.look()
                    on_tick(time.monotonic() - begin)
        finally:
            family.kill()
    return Outcome(exit_code, time.monotonic() - begin, family.peak_mb)


class _Family:
    """A process and all that it started, remembered even when a parent among them has ended."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._members = {pid: self._root}
        self.peak_mb = 0.0

    def look(self) -> None:
        """Note new members, and the most memory that one of them holds."""
        with suppress(psutil.Error):
            for member in self._root.children(recursive=True):
                self._members.setdefault(member.pid, member)
        for member in self._members.values():
            with suppress(psutil.Error):
                self.peak_mb = max(self.peak_mb, member.memory_info().rss / _MIB)

    def kill(self) -> None:
        """End every member. psutil compares start times, so a reused number is never hit."""
        self.look()
        living = [member for member in self._members.values() if member.is_running()]
        for member in living:
            with suppress(psutil.Error):
                member.kill()
        end = time.monotonic() + KILL_WAIT_SECONDS
        while any(map(works, living)) and time.monotonic() < end:
            time.sleep(0.01)


def works(process: psutil.Process) -> bool:
    """False when it has ended, even if nobody has asked for its exit status yet (a zombie).

    In a container, the one to ask may take its time, or never do.
    """
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def threads_available() -> int:
    """The number of threads that a notebook will compute with."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # one number per level
    return int(wanted) if re.fullmatch("[1-9][0-9]{0,5}", wanted) else usable_cores()


def memory_available() -> int:
    """The memory that new processes can have, in bytes: the machine's, or less in a container."""
    return min(psutil.virtual_memory().available, _left_in_container())


def _left_in_container() -> int:
    """What a container's limit leaves (cgroup v2), in bytes; very much where there is none."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        states = (_CGROUP / "memory.stat").read_text().split()
        cache = int(states[states.index("inactive_file") + 1])  # given back when it is needed
    except (OSError, ValueError):  # no container, or "max"
        return 2**62
    return limit - used + cache
