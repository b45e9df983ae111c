"""The content of files as digests: read once, then remembered with their names, sizes and times."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
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
    kept = _remembered(known)
    new = [name for name in names if kept.get(name, [0])[:3] != _looked_at(f"{place}/{name}")]
    if new:
        with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter lock
            found = pool.map(lambda name: _looked_at(f"{place}/{name}", True), new)
            kept |= zip(new, found, strict=True)
        with suppress(LabError):  # a full disk costs the time, not the answer
            write_atomically(known, json.dumps({**kept}))  # as it is now, for other threads
    return [(kept[name] or [UNREADABLE])[-1] for name in names]


@cache
def _remembered(known: Path) -> dict[str, list]:
    """What is known of the files of a folder by name, the other split's labels among them."""
    return {name: entry for name, entry in read_json(known).items() if isinstance(entry, list)}


def _looked_at(path: str, content: bool = False) -> list:
    """Size and times of a file, and a digest of its content if asked for; empty if it is none."""
    try:
        status = os.stat(path)
        if not S_ISREG(status.st_mode):  # a pipe would never end
            return []
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        return [*state, content_digest(path)] if content else state
    except OSError as error:
        blame_machine(path, error)
        return []
