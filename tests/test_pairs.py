"""The .py and .ipynb of each notebook agree, and the check notices when they do not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.machinery.files import LabError
from tools.checks import pairs

SCRIPT = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one clean pair, 05_lstm."""
    for name in ("py", "notebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "py" / "05_lstm.py").write_text(SCRIPT, encoding="utf-8")
    pairs.sync(tmp_path)
    return tmp_path


def edit_notebook(folder: Path, **changes: object) -> None:
    """Sets keys of the parameter cell of the pair's notebook."""
    path = folder / "notebooks" / "05_lstm.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"][1].update(changes)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def test_the_pairs_of_this_repository_are_clean() -> None:
    problems = pairs.check(committed=True)
    assert problems == {}, "mend the .py, then: python -m tools.checks.pairs --clean"


def test_a_notebook_made_from_its_script_is_a_clean_pair(folder: Path) -> None:
    assert pairs.check(folder, committed=True) == {}
    notebook = json.loads((folder / "notebooks" / "05_lstm.ipynb").read_text(encoding="utf-8"))
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown"] + 4 * ["code"]
    assert notebook["cells"][1]["metadata"] == {"tags": ["parameters"]}
    assert notebook["cells"][2]["source"][0] == "%load_ext autoreload\n"  # magics work again
    assert list(notebook["metadata"]) == ["kernelspec"]


def test_making_it_again_changes_nothing(folder: Path) -> None:
    path = folder / "notebooks" / "05_lstm.ipynb"
    before = path.read_bytes()
    assert pairs.sync(folder) == []
    path.unlink()
    assert pairs.sync(folder) == [path]
    assert path.read_bytes() == before


def test_an_edit_changes_the_id_of_its_cell_only() -> None:
    before, after = (
        [cell["id"] for cell in json.loads(pairs.made_from(script)[0])["cells"]]
        for script in (SCRIPT, SCRIPT.replace("epochs = 12", "epochs = 13"))
    )
    assert len(set(before)) == len(before)  # although some cells have the same source
    assert [a != b for a, b in zip(before, after, strict=True)] == [False, True] + 3 * [False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "epochs = 13  # passes over the data"}, "cell 2: line 1: 'epochs = 12"),
        ({"source": ["epochs = 12  # passes over the data\n", "x = 1"]}, "cell 2: line 2: '' in"),
        ({"metadata": {}}, "cell 2: tags"),
        ({"metadata": {"tags": ["parameters"], "alt": "a plot"}}, "cell 2: alt"),
        ({"cell_type": "raw"}, "cell 2: kind"),
    ],
)
def test_a_change_to_the_notebook_is_found(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    edit_notebook(folder, **changes)
    (problem,) = pairs.check(folder)["05_lstm"]
    assert message in problem


def test_a_new_cell_in_the_script_is_one_difference(folder: Path) -> None:
    script = SCRIPT.replace("# %% tags", '# %%\nprint("new")\n\n# %% tags', 1)
    (folder / "py" / "05_lstm.py").write_text(script, encoding="utf-8")
    (problem,) = pairs.check(folder)["05_lstm"]
    assert problem == "cell 2 of the .py is not in the .ipynb: code 'print(\"new\")'"


def test_a_cell_left_out_of_the_script_is_found(folder: Path) -> None:
    script = SCRIPT.replace("# %%\nprint(epochs)\n\n", "", 1)
    (folder / "py" / "05_lstm.py").write_text(script, encoding="utf-8")
    (problem,) = pairs.check(folder)["05_lstm"]
    assert "of the .ipynb is not in the .py" in problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": [STREAM]}, "cell 2 has outputs"),
        ({"execution_count": 3}, "cell 2 has outputs"),
        ({"metadata": {"tags": ["parameters"], "papermill": {}}}, "metadata or a form of its own"),
    ],
)
def test_what_a_run_leaves_is_no_drift_but_not_to_be_committed(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    edit_notebook(folder, **changes)
    assert pairs.check(folder) == {}
    (problem,) = pairs.check(folder, committed=True)["05_lstm"]
    assert message in problem


def test_metadata_of_a_run_and_another_kernel_are_not_to_be_committed(folder: Path) -> None:
    path = folder / "notebooks" / "05_lstm.ipynb"
    clean = json.loads(path.read_text(encoding="utf-8"))
    for changed in ({"language_info": {"name": "python"}}, {"kernelspec": {"name": "my-env"}}):
        notebook = clean | {"metadata": clean["metadata"] | changed}
        path.write_text(json.dumps(notebook), encoding="utf-8")
        assert pairs.check(folder) == {} and pairs.check(folder, committed=True) != {}


@pytest.mark.parametrize("missing", ["py/05_lstm.py", "notebooks/05_lstm.ipynb"])
def test_a_missing_partner_is_found(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert pairs.check(folder) == {"05_lstm": [f"{missing} is missing"]}


def test_a_file_that_is_no_notebook_is_found(folder: Path) -> None:
    (folder / "notebooks" / "05_lstm.ipynb").write_text("{", encoding="utf-8")
    assert "no valid notebook" in pairs.check(folder)["05_lstm"][0]


def test_the_command_reports_and_mends(
    folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_script(folder)
    assert pairs.main([], root=folder) == 1
    printed = capsys.readouterr().out
    assert "05_lstm: cell 2" in printed and "--sync" in printed
    assert pairs.main(["--sync"], root=folder) == 0
    assert capsys.readouterr().out.endswith("written: notebooks/05_lstm.ipynb\n")
    assert pairs.main([], root=folder) == 0


def edit_script(folder: Path) -> None:
    """Change one cell of the script, a while after the notebook was saved."""
    path = folder / "py" / "05_lstm.py"
    path.write_text(SCRIPT.replace("epochs = 12", "epochs = 13"), encoding="utf-8")
    os.utime(folder / "notebooks" / "05_lstm.ipynb", (1, 1))


def test_sync_keeps_the_outputs_of_unchanged_cells_and_clean_throws_them_away(
    folder: Path, home: Path
) -> None:
    path = folder / "notebooks" / "05_lstm.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"][1:]:
        cell |= {"outputs": [STREAM], "execution_count": 1}
    notebook["cells"][0]["attachments"] = {"a.png": {}}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert pairs.sync(folder) == []  # a run is no reason to write anything
    edit_script(folder)
    assert pairs.sync(folder) == [path]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [bool(cell["outputs"]) for cell in cells[1:]] == [False, True, True, True]
    assert cells[0]["attachments"] == {"a.png": {}}
    kept = json.loads((home / ".cache" / "replaced" / "05_lstm.ipynb").read_text())
    assert all(cell["outputs"] for cell in kept["cells"][1:])
    assert pairs.sync(folder, clean=True) == [path]
    assert pairs.check(folder, committed=True) == {}


@pytest.mark.parametrize("content", [None, "{", '{"cells": [{}'])
def test_sync_throws_nothing_away_that_only_the_notebook_says(
    folder: Path, content: str | None
) -> None:
    path = folder / "notebooks" / "05_lstm.ipynb"
    if content is None:
        edit_notebook(folder, source="epochs = 99")  # later than the script
        os.utime(folder / "py" / "05_lstm.py", (1, 1))
    else:
        path.write_text(content, encoding="utf-8")  # a save that stopped half-way
    before = path.read_bytes()
    with pytest.raises(LabError, match="05_lstm.ipynb: .*--clean (throws it away|makes it from)"):
        pairs.sync(folder)
    assert path.read_bytes() == before
    assert pairs.sync(folder, clean=True) == [path]


def test_jupytext_is_configured_to_the_same_rules() -> None:
    from jupytext.config import load_jupytext_config

    config = load_jupytext_config(str(pairs.ROOT / "py" / "05_lstm.py"))
    assert config.formats == ["notebooks///ipynb,py///py:percent"]
    assert sorted(config.cell_metadata_filter.split(",")) == sorted([*pairs.KEPT, "-all"])
    assert sorted(config.notebook_metadata_filter.split(",")) == ["-all", "kernelspec"]
