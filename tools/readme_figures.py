"""Small copies of four figures of a run, for the README: `python -m tools.readme_figures`.

Prints the Markdown that shows them, with the descriptions that the run stored.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.machinery.files import LabError, runs_dir, write_atomically
from tools.lab.run_folder import Paths

DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDTH = 900  # pixels
# notebook, figure, and what the reader of the README is told
FIGURES = (
    ("01_visualization", "four_forms", "Two clips in the four forms of steps 1 to 3"),
    ("06_metrics", "confusion_best_lstm", "Step 6: what the best LSTM takes for what"),
    ("07_cnn", "cnn_activations", "Step 7: a clip inside the CNN"),
    ("10_multitask", "differences", "Step 10: one network or three, as paired differences"),
)


def shrunk(png: bytes, width: int = WIDTH) -> bytes:
    """A PNG picture of at most this width, with 128 colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > width:
        height = round(picture.height * width / picture.width)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.quantize(128).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write docs/figure_*.png and print the Markdown for them."""
    parser = argparse.ArgumentParser(prog="python -m tools.readme_figures", description=__doc__)
    parser.add_argument("--run", default="demo", help="the run's name")
    run = runs_dir() / parser.parse_args(arguments).run
    for notebook, name, caption in FIGURES:
        record = Paths(run, notebook).record
        source = record / "figures" / f"{name}.png"
        if not source.is_file():
            raise LabError(f"{source}: not there; run ./run_all.sh first")
        alt = json.loads((record / "figures.json").read_text(encoding="utf-8"))[name]
        place = DOCS / f"figure_{name}.png"
        write_atomically(place, shrunk(source.read_bytes()))
        print(f"{caption}:\n\n![{alt}](docs/{place.name})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
