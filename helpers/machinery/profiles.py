"""Profiles: other values for the notebooks' parameters, as sizes and epochs, never behaviour.

A notebook's own parameter cell is the demo profile; `full`, `smoke` and files of the user's own
change it by name. What they leave out is as in the cell.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from helpers.machinery.files import LabError, did_you_mean, one_line, read_text

PROFILE_FOLDER = Path(__file__).resolve().parents[1] / "profiles"
DEMO = "demo"  # has no file
ALL, RUNNER = "all", "runner"  # sections that are no notebook's
# What a number may be where 1 to 10,000, for fractions anything above 0, is not it.
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1), "batch_size": (1, 100_000), "stack": (1, 1_000), "kernel": (1, 15),
    "crop_frames": (0, 10**6), "lstm_crop_frames": (0, 10**6), "mixup": (0, 10**6),
    "max_masked_bands": (0, 128), "ast_epochs": (0, 10_000), "demo_size": (1e-3, 100),
}  # fmt: skip
# A few letters of YAML can stand for more than fits into memory.
brief = reprlib.Repr()
brief.maxlevel, brief.maxstring, brief.maxother = 1, 80, 80
_NOTEBOOK = re.compile(r"\d\d[a-z]?_\w+")


@dataclass(frozen=True)
class Profile:
    """Other values for some parameters, in sections: `all`, a notebook's name, or `runner`."""

    name: str
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    path: Path | None = None
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, repr=False)

    def overrides(self, notebook: str) -> dict[str, Any]:
        """What it changes in one notebook: the section `all`, then the notebook's own on top."""
        return {**self.sections.get(ALL, {}), **self.sections.get(notebook, {})}

    def parameters(self, notebook: str, own: Mapping[str, Any]) -> dict[str, Any]:
        """The notebook's own parameters, with those that the profile changes.

        Raises LabError, with the line, for a parameter that the notebook does not have, or has with
        another type.
        """
        for section in (ALL, notebook):
            for name, value in self.sections.get(section, {}).items():
                place = self.where(section, name)
                if name not in own:
                    raise LabError(
                        f"{place}: unknown parameter {name!r} in section {section!r}"
                        f"{did_you_mean(name, own)}; known: {', '.join(sorted(own))}"
                    )
                _check_type(place, f"{section}.{name}", value, own[name])
                _check_range(place, section, name, value, own[name])
        return {**own, **self.overrides(notebook)}

    def check_sections(self, notebooks: Iterable[str]) -> None:
        """Raise LabError, with the line, for a section that belongs to none of these notebooks."""
        known = sorted([ALL, RUNNER, *notebooks])
        for section in self.sections:
            if section not in known:
                raise LabError(
                    f"{self.where(section)}: unknown section {section!r}"
                    f"{did_you_mean(section, known)}; known: {', '.join(known)}"
                )

    def where(self, *keys: object) -> str:
        """Where a section, or a parameter in it, stands: `file:line`."""
        line = self.lines.get(tuple(map(str, keys)))
        return f"{self.path or self.name}:{line}" if line else str(self.path or self.name)


def profile_names() -> list[str]:
    """The names of the profiles that come with the kit."""
    return sorted([DEMO, *(path.stem for path in PROFILE_FOLDER.glob("*.yaml"))])


def load_profile(name: str) -> Profile:
    """Read a profile by name, or from a `.yaml` file of the user's own.

    Raises LabError for an unknown name, and for a file that is no YAML mapping of sections.
    """
    if name == DEMO:
        return Profile(DEMO)
    path = PROFILE_FOLDER / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        path = Path(os.path.expanduser(name))
        if not path.is_file():
            raise LabError(
                f"{path}: no such profile file; give one that exists, or one of "
                f"{', '.join(profile_names())}"
            )
    elif not path.is_file():
        raise LabError(
            f"unknown profile {name!r}{did_you_mean(name, profile_names())}; known: "
            f"{', '.join(profile_names())}, or give the path of a .yaml file of your own"
        )
    # One of the user's own keeps its ending: `full.yaml` is not the kit's `full`.
    profile = Profile(Path(name).name, *_read_yaml_sections(path))
    for section, values in profile.sections.items():
        if not isinstance(values, dict):
            raise LabError(
                f"{profile.where(section)}: section {section!r} must be a mapping of parameter: "
                "value; write for example 05_lstm: {epochs: 3}"
            )
    return profile


def apply_profile(namespace: dict[str, Any]) -> None:
    """Overwrite a notebook's parameters with those of `$MUSICLAB_PROFILE`, when it is set.

    `namespace` is the notebook's `globals()`; its variable `notebook` names the section.
    """
    name = os.environ.get("MUSICLAB_PROFILE")
    if not name:
        return
    notebook = namespace["notebook"]
    profile = load_profile(name)
    number = f"{notebook.partition('_')[0]}_"  # a section that begins so is meant for this one
    others = [s for s in profile.sections if _NOTEBOOK.fullmatch(s) and not s.startswith(number)]
    profile.check_sections([notebook, *others])
    own = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, (bool, int, float, str, list))
        and name not in ("notebook", "In") and not name.startswith("_")
    }  # fmt: skip
    namespace.update(profile.parameters(notebook, own))
    print(f"parameters of profile {name!r} applied")


def _read_yaml_sections(path: Path) -> tuple[dict[str, Any], Path, dict[tuple[str, ...], int]]:
    """The content of a profile file, the file, and the lines of its sections and parameters."""
    import yaml

    text = read_text(path)
    try:
        content = yaml.safe_load(text)
        lines = _lines_of(yaml.compose(text, yaml.SafeLoader))
    except Exception as error:  # PyYAML's own, and what it lets through, as for a date like 13-45
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = one_line(getattr(error, "problem", None) or error)
        raise LabError(f"{place}: no valid YAML ({problem}); correct the line") from error
    if not isinstance(content, dict):
        raise LabError(
            f"{path}: a profile is a mapping of sections (all, 05_lstm, ...); write for example "
            "05_lstm: {epochs: 3}"
        )
    return content, path, lines


def _lines_of(node: Any, keys: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """The line, counted from 1, of each section and each of its parameters in a YAML tree."""
    lines: dict[tuple[str, ...], int] = {}
    if getattr(node, "id", "") == "mapping" and len(keys) < 2:
        for key, value in node.value:
            inner = (*keys, str(key.value))
            lines[inner] = key.start_mark.line + 1
            lines |= _lines_of(value, inner)
    return lines


def _check_type(where: str, name: str, value: object, example: object) -> None:
    if example is None or (isinstance(example, float) and is_number(value)):
        return
    if type(value) is not type(example):
        raise LabError(
            f"{where}: {name} is {brief.repr(value)} ({type(value).__name__}) but must be "
            f"{type(example).__name__}; write for example {example!r}"
        )
    if isinstance(example, list) and isinstance(value, list) and example:
        for item in value:
            _check_type(where, f"an entry of {name}", item, example[0])


def _check_range(where: str, section: str, name: str, value: object, example: object) -> None:
    """Numbers that no training can use would end somewhere inside of PyTorch."""
    ends = RANGES.get(name, (1e-12, 1e4) if isinstance(example, float) else (1, 10_000))
    for number in value if isinstance(value, list) else [value]:
        if is_number(number) and not ends[0] <= number <= ends[1]:  # NaN is in no range
            raise LabError(
                f"{where}: {section}.{name} is {value!r}; give {ends[0]:g} to {ends[1]:g}"
            )
    if value == []:
        raise LabError(f"{where}: {section}.{name} is empty; give at least one entry")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a profile is a number (True and False are none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
