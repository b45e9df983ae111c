"""Says whether the running Python satisfies what pyproject.toml asks for.

    python tools/setup/check_environment.py [--extra test]

Exits with 0 when it does; else with 1 and one line that says what is missing. Reads only the
packages' metadata, which takes a tenth of a second; importing torch would take some. It must
itself run in any Python 3, so everything beyond the standard library is imported with care.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def read_project(root: Path = ROOT) -> dict:
    """The table [project] of pyproject.toml."""
    import tomllib  # Python 3.11

    with open(root / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]


def requirements_of(project: dict, extras: list[str]) -> list[str]:
    """The requirement lines of a project, with those of some of its extras."""
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return lines


def unmet_requirements(lines: list[str]) -> list[str]:
    """Which requirement lines the running Python does not satisfy, each with what is there.

    Raises ModuleNotFoundError where `packaging` itself is missing.
    """
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    unmet = []
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            unmet.append(f"{requirement.name} is missing")
        else:
            if not requirement.specifier.contains(found, prereleases=True):
                unmet.append(f"{requirement.name} is {found}, needed {requirement.specifier}")
    return unmet


def complaint(root: Path = ROOT, extras: list[str] | None = None) -> str:
    """One line that says why the running Python will not do; empty when it will."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return "Python {}.{}, needed 3.11 to 3.13".format(*sys.version_info[:2])
    try:
        unmet = unmet_requirements(requirements_of(read_project(root), extras or []))
    except ModuleNotFoundError as error:
        return f"{error.name} is missing"
    helpers = importlib.util.find_spec("helpers")
    if helpers is None or helpers.origin is None:
        unmet.append("helpers is missing")
    elif Path(helpers.origin).resolve().parent != root / "helpers":
        unmet.append(f"helpers comes from {Path(helpers.origin).parent}")
    shown = unmet[:3] + ([f"{len(unmet) - 3} more"] if len(unmet) > 3 else [])
    return "; ".join(shown)


def main() -> int:
    """Prints the complaint, if any; 0 when there is none."""
    parser = argparse.ArgumentParser(description="Does this Python satisfy pyproject.toml?")
    parser.add_argument("--extra", action="append", default=[], help="with this extra as well")
    problem = complaint(extras=parser.parse_args().extra)
    if problem:
        print(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
