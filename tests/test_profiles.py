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


def test_the_time_limit_may_differ_by_notebook(with_data, tmp_path):
    text = "runner: {timeout_minutes: {default: 5, 05_lstm: 40}}"
    plan = make_plan(Lab(), profile=profile_file(tmp_path, text))
    assert (plan.timeout_minutes("05_lstm"), plan.timeout_minutes("06_metrics")) == (40, 5)


def test_a_profile_replaces_parameters_of_its_notebook_and_says_so(tmp_path, monkeypatch, capsys):
    text = "all: {seed: 7}\n07_cnn: {rate: 1}\n05_lstm: {sizes: [4]}\nrunner: {timeout_minutes: 5}"
    monkeypatch.setenv("MUSICLAB_PROFILE", profile_file(tmp_path, text))
    namespace = {"notebook": "07_cnn", "os": os, **OWN}
    profiles.apply_profile(namespace)
    assert namespace == {"notebook": "07_cnn", "os": os, **OWN, "seed": 7, "rate": 1}
    assert "mine.yaml" in capsys.readouterr().out
