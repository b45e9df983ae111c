"""Ways to spoil the files of a data folder, by what is wrong with them then.

The table of wrong input takes each by its name, at one place; the campaign takes any, anywhere.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import yaml

Change = Callable[[bytes], bytes]
Numbers = Callable[[np.ndarray], np.ndarray]
TABLE = yaml.safe_load(Path(__file__).with_name("wrong_input.yaml").read_text(encoding="utf-8"))
MILLION = "x" * 10**6


def rows_of(section: str, words: Mapping[str, object]) -> list[dict[str, Any]]:
    """The rows of a section of wrong_input.yaml, with the words that its $NAMES stand for."""
    assert not TABLE["words"].keys() & words.keys(), "a name that stands for two things"
    words = TABLE["words"] | words
    quoted = {name: json.dumps(str(word))[1:-1] for name, word in words.items()}
    return json.loads(Template(json.dumps(TABLE[section])).substitute(quoted))


def as_npy(values: np.ndarray) -> bytes:
    """What `np.save` writes, pickles included."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def of_numbers(change: Numbers) -> Change:
    """A change of the numbers of a clip, gzipped or not."""

    def changed(content: bytes) -> bytes:
        zipped = content[:2] == b"\x1f\x8b"
        array = np.load(io.BytesIO(gzip.decompress(content) if zipped else content))
        content = as_npy(change(array))
        return gzip.compress(content) if zipped else content

    return changed


def header(text: str) -> Change:
    """An array begins with this header instead of its own, and ends there."""
    return lambda _: b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


# No whole array any more.
FILES: dict[str, Change] = {
    "an array is cut short": lambda content: content[:-1000],
    "an array is cut short in its header": lambda content: content[:40],
    "an array of 0 bytes": lambda content: b"",
    "a web page instead of an array": lambda content: b"<html>not found</html>",
    "an array with a damaged header": header("{'descr': ((("),
    "an array with a header beyond all measure": header(" " * 30_000),
    "an array whose header promises more than there is": header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (140, 9999999999), }\n"
    ),
}
# Whole arrays [140, T] of something else than a clip.
ARRAYS: dict[str, Numbers] = {
    "an array without frames": lambda a: a[:, :0],
    "an array without its chroma rows": lambda a: a[:128],
    "an array that is transposed": lambda a: a.T,
    "an array of one dimension": lambda a: a[0],
    "an array of whole numbers": lambda a: a.astype(np.int16),
    "an array with NaN": lambda a: np.insert(a, 3, np.nan, axis=1),
    "an array with an infinite value": lambda a: np.insert(a, 3, -np.inf, axis=1),
    "power in place of decibels": lambda a: np.concatenate(
        [np.linspace(0, 90, 128)[:, None] + 0 * a[:128], a[128:]]
    ),
    "chroma before mel": lambda a: np.concatenate(
        [a[128:], np.linspace(-80, 0, 128)[:, None] + 0 * a[:128]]
    ),
}
