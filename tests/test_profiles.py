"""Profiles: other values for the notebooks' parameters, whose cells are the demo profile.

Bad ones stand in the table of wrong input.
"""

from __future__ import annotations

import os

from helpers.machinery import profiles
from tools.common.notebooks import Lab
from tools.run.plan import make_plan

OWN = {"data": "auto", "device": "auto", "seed": 0, "epochs": 30, "rate": 0.1, "sizes": [8, 16]}


def test_the_profiles_of_the_kit_fit_every_notebook(mini_data, home, monkeypatch):
    monkeypatch.setenv("MUSICLAB_DATA", str(mini_data))
    assert profiles.profile_names() == ["demo", "full", "smoke"]
    own = {name: Lab().read(name).parameters for name in Lab().names}
    for profile in profiles.profile_names():
        plan = make_plan(Lab(), profile=profile)
        for name in Lab().names:
            assert set(plan.parameters(name)) == set(own[name])
            assert plan.timeout_minutes > 0
    assert profiles.load_profile("demo").overrides("05_lstm") == {}


def test_a_profile_replaces_parameters_of_its_notebook_and_says_so(tmp_path, monkeypatch, capsys):
    text = "all: {seed: 7}\n07_cnn: {rate: 1}\n05_lstm: {sizes: [4]}\nrunner: {timeout_minutes: 5}"
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setenv("MUSICLAB_PROFILE", str(tmp_path / "mine.yaml"))
    namespace = {"notebook": "07_cnn", "os": os, **OWN}
    profiles.apply_profile(namespace)
    assert namespace == {"notebook": "07_cnn", "os": os, **OWN, "seed": 7, "rate": 1}
    assert "mine.yaml" in capsys.readouterr().out


def test_a_profile_of_ones_own_is_not_mistaken_for_the_kits(tmp_path):
    (tmp_path / "full.yaml").write_text("all: {seed: 1}")
    assert profiles.load_profile(f"{tmp_path}/full.yaml").name == "full.yaml"
    assert profiles.load_profile("full").name == "full"
