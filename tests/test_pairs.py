"""The .py and .ipynb of each notebook agree, and the check notices when they do not."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from helpers.machinery.files import LabError
from tools.checks import pairs

SCRIPT = """\
# %% [markdown]
# # 5γ · LSTM on mel spectrograms
# Some text.

# %% tags=["parameters"]
epochs = 12  # passes over the data

# %%
# %load_ext autoreload
print(epochs)

# %%
print(epochs)

# %% tags=["solution"]
print(epochs)
"""
STREAM = {"output_type": "stream", "name": "stdout", "text": "12"}


class Pair:
    """A folder with one clean pair, 05_lstm."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.script = root / "py" / "05_lstm.py"
        self.notebook = root / "notebooks" / "05_lstm.ipynb"
        self.script.parent.mkdir()
        self.script.write_text(SCRIPT, encoding="utf-8")
        pairs.sync(root)

    def cells(self) -> list[dict[str, Any]]:
        return json.loads(self.notebook.read_text(encoding="utf-8"))["cells"]

    def edit_script(self, old: str, new: str) -> None:
        """Change the script at one place, a while after the notebook was saved."""
        text = self.script.read_text(encoding="utf-8")
        self.script.write_text(text.replace(old, new, 1), encoding="utf-8")
        os.utime(self.notebook, (1, 1))

    def edit_notebook(self, numbers: Iterable[int], **changes: object) -> None:
        """Set keys of these cells of the notebook, numbered from 0."""
        notebook = json.loads(self.notebook.read_text(encoding="utf-8"))
        for number in numbers:
            notebook["cells"][number] |= changes
        self.notebook.write_text(json.dumps(notebook), encoding="utf-8")

    def problem(self, *, committed: bool = False) -> str:
        """The one thing that is wrong, if anything is."""
        return pairs.check(self.root, committed=committed).get("05_lstm", "")


@pytest.fixture
def pair(tmp_path: Path, home: Path) -> Pair:
    return Pair(tmp_path)


def test_the_pairs_of_this_repository_are_clean():
    problems = pairs.check(committed=True)
    assert problems == {}, "mend the .py, then: python -m tools.checks.pairs --clean"


def test_a_notebook_made_from_its_script_is_a_clean_pair(pair):
    assert pair.problem(committed=True) == "" and pairs.sync(pair.root) == []
    cells = pair.cells()
    assert [cell["cell_type"] for cell in cells] == ["markdown"] + 4 * ["code"]
    assert cells[1]["metadata"] == {"tags": ["parameters"]}
    assert cells[2]["source"][0] == "%load_ext autoreload\n"  # magics work again


TO_CLEAN = "is not to be committed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ["epochs = 12  # passes over the data\n", "x = 1"]}, "line 2: '' in the .py"),
        ({"metadata": {}}, "cell 2: tags"),
        ({"metadata": {"tags": ["parameters"], "alt": "a plot"}}, "cell 2: alt"),
        ({"cell_type": "raw"}, "cell 2: kind"),
        ({"outputs": [STREAM]}, TO_CLEAN),
        ({"execution_count": 3}, TO_CLEAN),
        ({"metadata": {"tags": ["parameters"], "papermill": {}}}, TO_CLEAN),
    ],
)
def test_a_change_to_the_notebook_is_found_and_what_a_run_leaves_only_before_a_commit(
    pair, changes, message
):
    pair.edit_notebook([1], **changes)
    assert message in pair.problem(committed=True)
    assert (pair.problem() == "") == (message == TO_CLEAN)


def test_what_one_half_lacks_is_found(pair):
    pair.edit_script("# %% tags", "# %%\nnew()\n\n# %% tags")
    assert pair.problem() == "cell 2: tags: () in the .py, ('parameters',) in the .ipynb"
    last = '\n# %% tags=["solution"]\nprint(epochs)\n'
    pair.script.write_text(SCRIPT.replace(last, ""))
    assert pair.problem() == "cell 5: kind: 'no cell' in the .py, 'code' in the .ipynb"
    for half, name in ((pair.script, "py/05_lstm.py"), (pair.notebook, "notebooks/05_lstm.ipynb")):
        content = half.read_bytes()
        half.unlink()
        assert pair.problem() == f"{name} is missing"
        half.write_bytes(content)


def test_sync_keeps_the_outputs_of_unchanged_cells_and_clean_throws_them_away(pair, home, capsys):
    ids = [cell["id"] for cell in pair.cells()]
    pair.edit_notebook([0], attachments={"a.png": {}})
    pair.edit_notebook(range(1, 5), outputs=[STREAM], execution_count=1)
    before = pair.notebook.read_bytes()
    assert pairs.sync(pair.root) == []  # a run is no reason to write anything
    pair.edit_script("epochs = 12", "epochs = 13")
    assert pairs.main([], root=pair.root) == 1
    printed = capsys.readouterr().out
    assert "05_lstm: cell 2" in printed and "--sync" in printed
    assert pairs.main(["--sync"], root=pair.root) == 0
    assert capsys.readouterr().out.endswith("written: notebooks/05_lstm.ipynb\n")
    picture, *code = pair.cells()
    assert picture["attachments"] == {"a.png": {}}
    assert [bool(cell["outputs"]) for cell in code] == [False, True, True, True]
    assert [n for n, cell in enumerate(pair.cells()) if cell["id"] != ids[n]] == [1]
    assert len(set(ids)) == len(ids)  # although some cells have the same source
    assert (home / ".cache" / "replaced" / "05_lstm.ipynb").read_bytes() == before
    assert pairs.main(["--clean"], root=pair.root) == 0
    assert pair.problem(committed=True) == ""


@pytest.mark.parametrize("content", [None, "{", '{"cells": [{}'])
def test_sync_throws_nothing_away_that_only_the_notebook_says(pair, content):
    if content is None:
        pair.edit_notebook([1], source="epochs = 99")  # later than the script
        os.utime(pair.script, (1, 1))
    else:
        pair.notebook.write_text(content, encoding="utf-8")  # a save that stopped half-way
        assert "no valid notebook" in pair.problem()
    before = pair.notebook.read_bytes()
    with pytest.raises(LabError, match="05_lstm.ipynb: .*--clean (throws it away|makes it from)"):
        pairs.sync(pair.root)
    assert pair.notebook.read_bytes() == before
    assert pairs.sync(pair.root, clean=True) == [pair.notebook]


def test_jupytext_is_configured_to_the_same_rules():
    from jupytext.config import load_jupytext_config

    config = load_jupytext_config(str(pairs.ROOT / "py" / "05_lstm.py"))
    assert config.formats == ["notebooks///ipynb,py///py:percent"]
    assert sorted(config.cell_metadata_filter.split(",")) == sorted([*pairs.KEPT, "-all"])
    assert sorted(config.notebook_metadata_filter.split(",")) == ["-all", "kernelspec"]
