"""The content of files as digests: read once, then remembered with their names, sizes and times."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from stat import S_ISREG

from helpers.machinery.files import LabError, cache_dir, read_json, write_atomically

UNREADABLE = "-"


def file_digests(folder: str, names: Sequence[str]) -> list[str]:
    """A digest of the content of each of these files of a folder; `-` for one that is none.

    A file is read again once its size or one of its times has changed.
    """
    place = os.path.realpath(folder)
    known = cache_dir() / "identity" / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"
    kept = read_json(known)  # also of the other split's labels
    before = {name: kept.get(name, []) for name in names}

    def entry(name: str) -> list:
        path = os.path.join(place, name)
        try:
            status = os.stat(path)
            state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if before[name][:3] == state:
                return before[name]
            if not S_ISREG(status.st_mode):  # a pipe would never end
                return [UNREADABLE]
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            return [*state, content.hexdigest()]
        except OSError:
            return [UNREADABLE]

    with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter lock
        entries = dict(zip(names, pool.map(entry, names), strict=True))
    if entries != before:
        with suppress(LabError):  # a full disk costs the time, not the answer
            write_atomically(known, json.dumps({**kept, **entries}))
    return [entries[name][-1] for name in names]
