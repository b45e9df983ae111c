"""Profiles: other values for the notebooks' parameters, whose cells are the demo profile.

Bad ones stand in the table of wrong input.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.machinery import profiles
from tools.common.notebooks import Lab
from tools.run.plan import make_plan

OWN = {"data": "auto", "device": "auto", "seed": 0, "epochs": 30, "rate": 0.1, "sizes": [8, 16]}


def profile_file(folder: Path, text: str) -> str:
    """A profile of the user's own; returns its name as it is given on the command line."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def with_data(mini_data: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICLAB_DATA", str(mini_data))


def test_the_profiles_of_the_kit_fit_every_notebook(with_data):
    assert profiles.profile_names() == ["demo", "full", "smoke"]
    own = {name: Lab().read(name).parameters for name in Lab().names}
    for profile in profiles.profile_names():
        plan = make_plan(Lab(), profile=profile)
        for name in Lab().names:
            assert set(plan.parameters(name)) == set(own[name])
            assert plan.timeout_minutes(name) > 0
    assert profiles.load_profile("demo").overrides("05_lstm") == {}


def test_what_a_profile_leaves_out_is_as_in_the_notebook(tmp_path):
    own = profiles.load_profile(profile_file(tmp_path, "all: {seed: 7}\n05_lstm: {rate: 1}\n"))
    assert own.name == "mine"
    assert own.parameters("05_lstm", OWN) == OWN | {"seed": 7, "rate": 1}
    assert own.parameters("07_cnn", OWN) == OWN | {"seed": 7}


def test_the_time_limit_may_differ_by_notebook(with_data, tmp_path):
    text = "runner: {timeout_minutes: {default: 5, 05_lstm: 40}}"
    plan = make_plan(Lab(), profile=profile_file(tmp_path, text))
    assert (plan.timeout_minutes("05_lstm"), plan.timeout_minutes("06_metrics")) == (40, 5)


# ---- in a notebook -----------------------------------------------------------------------------


def test_without_a_profile_a_notebook_keeps_its_own_parameters():
    namespace = {"notebook": "06_metrics", "seed": 3}
    profiles.apply_profile(namespace)
    assert namespace == {"notebook": "06_metrics", "seed": 3}


def test_a_profile_replaces_parameters_and_says_so(monkeypatch, capsys):
    monkeypatch.setenv("MUSICLAB_PROFILE", "smoke")
    smoke = profiles.load_profile("smoke").overrides("07_cnn")
    namespace = {"notebook": "07_cnn", "os": os, **dict.fromkeys(smoke, 1), **OWN}
    namespace["channels"] = [16]
    profiles.apply_profile(namespace)
    assert namespace["channels"] == [4, 4, 8, 8] and namespace["device"] == "cpu"
    assert namespace["os"] is os and namespace["sizes"] == [8, 16]
    assert "smoke" in capsys.readouterr().out


def test_sections_of_other_notebooks_are_no_matter_of_this_one(tmp_path, monkeypatch):
    text = "07_cnn: {channels: [4]}\nrunner: {timeout_minutes: 5}\n"
    monkeypatch.setenv("MUSICLAB_PROFILE", profile_file(tmp_path, text))
    namespace = {"notebook": "05_lstm", **OWN}
    profiles.apply_profile(namespace)
    assert namespace == {"notebook": "05_lstm", **OWN}
