"""pyproject.toml, requirements.lock and environment.yml say the same; the quick check uses them."""

import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.setup import check_environment

ROOT = check_environment.ROOT
CONDA_NAMES = {"torch": "pytorch", "soundfile": "pysoundfile"}  # where conda-forge has another


def project_requirements() -> dict[str, Requirement]:
    """Name -> requirement of pyproject.toml, with the extra for the tests."""
    lines = check_environment.requirements_of(check_environment.read_project(), ["test"])
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def pin(requirement: Requirement) -> Version:
    """The version of a pinned requirement, without the tag of a build for some machines only."""
    (specifier,) = requirement.specifier
    version = Version(specifier.version)
    assert specifier.operator == "==" and not version.local, f"{requirement} is not portable"
    return version


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_pins_every_requirement_once_and_inside_its_range(python, system):
    versions = {"python_version": python, "python_full_version": f"{python}.9"}
    platform = {**versions, "sys_platform": system}
    pins: dict[str, Version] = {}
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate(platform):
            name = canonicalize_name(requirement.name)
            assert name not in pins, f"{name} is pinned twice"
            pins[name] = pin(requirement)
    for name, requirement in project_requirements().items():
        assert name in pins, f"{name} is missing from requirements.lock: bash tools/setup/lock.sh"
        assert requirement.specifier.contains(pins[name]), f"{requirement}, locked {pins[name]}"


def test_environment_yml_has_the_same_names_and_ranges_and_makes_the_kit_importable():
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert content["channels"] == ["conda-forge"]
    *lines, from_pip = content["dependencies"]
    *others, kit = from_pip["pip"]
    assert kit == "--editable ."
    named = (re.fullmatch(r"([\w-]+)(.*)", line) for line in [*lines, *others])
    theirs = {match[1]: set(match[2].split(",")) for match in named}
    (python,) = theirs.pop("python")
    theirs.pop("pip")
    assert theirs == {
        CONDA_NAMES.get(name, name): {str(part) for part in requirement.specifier}
        for name, requirement in project_requirements().items()
    }
    assert check_environment.read_project()["requires-python"] == ">=3.11,<3.14"
    assert Version("3.11") <= Version(python.lstrip("=")) < Version("3.14")


def test_the_helpers_of_this_checkout_satisfy_and_those_of_another_do_not(tmp_path):
    assert check_environment.complaint(extras=["test"]) == ""
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = []\n", encoding="utf-8")
    assert check_environment.complaint(tmp_path).startswith("helpers comes from ")


def test_the_check_works_as_a_script_without_any_package():
    script = ROOT / "tools" / "setup" / "check_environment.py"
    # -I -S: neither site-packages nor PYTHONPATH
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (1, "packaging is missing")
