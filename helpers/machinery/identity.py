"""The content of files as digests: read once, then remembered with their names, sizes and times."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from helpers.machinery.files import LabError, blame_machine, cache_dir, read_json, write_atomically

UNREADABLE = "-"


def content_digest(path: str | Path) -> str:
    """A digest of all that a file holds."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def file_digests(folder: str, names: Sequence[str]) -> list[str]:
    """A digest of the content of each of these files of a folder; `-` for one that is none.

    A file is read again once its size or one of its times has changed. Raises LabError where the
    machine cannot read one now.
    """
    place = os.path.realpath(folder)
    known = cache_dir() / "identity" / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"
    # also of the other split's labels
    kept = {name: entry for name, entry in read_json(known).items() if isinstance(entry, list)}
    states = {name: _state(f"{place}/{name}") for name in names}
    new = [name for name, state in states.items() if (kept.get(name) or [0, 0])[:-1] != state]
    with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter lock
        contents = pool.map(lambda name: _content(f"{place}/{name}", states[name]), new)
        kept |= {
            name: [*states[name], content] for name, content in zip(new, contents, strict=True)
        }
    if new:
        with suppress(LabError):  # a full disk costs the time, not the answer
            write_atomically(known, json.dumps(kept))
    return [kept[name][-1] for name in names]


def _state(path: str) -> list[int]:
    """What changes with a file; nothing where there is no regular one (a pipe would never end)."""
    try:
        status = os.stat(path)
    except OSError as error:
        blame_machine(path, error)
        return []
    times = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return times if S_ISREG(status.st_mode) else []


def _content(path: str, state: list[int]) -> str:
    try:
        return content_digest(path) if state else UNREADABLE
    except OSError as error:
        blame_machine(path, error)
        return UNREADABLE
