"""What the report cites: papers, and the links of the handouts from data_links.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.common.notebooks import ROOT

LINKS = ROOT / "data_links.md"
PAPERS = Path(__file__).with_name("papers.md")
_BEGIN = "## Links of the handouts"
_LINK = re.compile(r"\[([^\]]+)\](?:\((https?://[^)]+)\)|\[([^\]]+)\])")
_ADDRESS = re.compile(r"^\[([^\]]+)\]: (\S+)$", re.MULTILINE)


def handout_links(path: Path = LINKS) -> Iterator[tuple[str, str]]:
    """Title and address of each link of the handouts, in their order."""
    text = path.read_text(encoding="utf-8")
    addresses = dict(_ADDRESS.findall(text))
    rows = [line for line in text.partition(_BEGIN)[2].splitlines() if line.startswith("| [")]
    for row in rows:
        # The first cell holds the links, the second one says what they are.
        links = _LINK.findall(row.split(" | ")[0])
        for number, (title, address, name) in enumerate(links):
            whole = f"{links[0][0]}, {title}" if number else title
            yield whole, address or addresses[name]
