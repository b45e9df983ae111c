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

from helpers.machinery.files import (
    LabError,
    cache_dir,
    read_json,
    stop_at_machine_errors,
    write_atomically,
)

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
    kept = read_json(known)  # also of the other split's labels
    before = {name: kept[name] if isinstance(kept.get(name), list) else [] for name in names}

    def entry(name: str) -> list:
        path = os.path.join(place, name)
        try:
            status = os.stat(path)
            state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if before[name][:3] == state:
                return before[name]
            if not S_ISREG(status.st_mode):  # a pipe would never end
                return [UNREADABLE]
            return [*state, content_digest(path)]
        except OSError as error:
            stop_at_machine_errors(path, error)
            return [UNREADABLE]

    with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter lock
        entries = dict(zip(names, pool.map(entry, names), strict=True))
    if entries != before:
        with suppress(LabError):  # a full disk costs the time, not the answer
            write_atomically(known, json.dumps({**kept, **entries}))
    return [entries[name][-1] for name in names]
