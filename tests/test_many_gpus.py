"""Several GPUs, faked by the CPU: one training in several processes, and one training per GPU."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import distributed

from helpers import datasets, models, training
from helpers.folders import GENRE
from helpers.machinery import many_gpus, process
from helpers.machinery.batches import LengthBatches
from helpers.machinery.files import LabError
from helpers.machinery.one_per_gpu import one_per_gpu, visible_gpus
from tests import fake_gpus
from tests.small_lab import SmallLab
from tests.two_processes import settings
from tools.run import plan
from tools.run.tasks import Tasks

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[1]
DEAD_SECONDS = 600  # of a busy machine


def be(number: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings(number, n).items():
        monkeypatch.setenv(name, value)


# ---- torchrun ----------------------------------------------------------------------------------


def test_two_processes_train_one_network_and_end_together(tmp_path, mini_data):
    """See two_processes.py. Given again, the command ends as if nobody had been killed."""
    (tmp_path / "data").symlink_to(mini_data)
    done = subprocess.run(
        [sys.executable, "-m", "tests.two_processes", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=DEAD_SECONDS,
    )  # fmt: skip
    said = {path.name: path.read_text() for path in sorted(tmp_path.glob("*_said?"))}
    assert done.stdout == f"1 {-signal.SIGKILL}\n0 0\n", (done.stderr, said)
    first, ended = said["killed_said0"].splitlines()
    assert first.startswith("2 processes computing on cpu; trainings in ")
    assert ended == (
        "process 0 of 2 (from 0) is ended by torchrun, as another one has ended; give the same "
        "command again"
    )
    assert said["again_said0"] == first + "\n" and said["killed_said1"] == said["again_said1"] == ""
    assert len({path.read_bytes() for path in tmp_path.glob("*_weights?")}) == 1
    assert len(list(tmp_path.glob("*_weights?"))) == 4


def test_without_nccl_the_processes_talk_through_gloo_and_say_so(monkeypatch, capsys):
    begun = Mock()
    monkeypatch.setattr(distributed, "init_process_group", begun)
    monkeypatch.setattr(many_gpus, "_end_with_one_line", lambda: None)
    monkeypatch.setattr(many_gpus.atexit, "register", lambda _: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    be(0, 2, monkeypatch)
    for there, backend in ((True, "nccl"), (False, "gloo")):
        monkeypatch.setattr(distributed, "is_nccl_available", lambda there=there: there)
        many_gpus.start(torch.device("cuda:0"))
        begun.assert_called_with(backend)
        assert capsys.readouterr().out.startswith("this PyTorch has no NCCL") != there


def test_each_process_has_its_share_of_every_epoch(monkeypatch):
    lengths = np.arange(21)

    def share(number: int, epoch: int) -> list[list[int]]:
        be(number, 2, monkeypatch)
        sampler = many_gpus.shared(LengthBatches(lengths, 3, torch.Generator()), seed=1)
        for _ in range(epoch):  # the passes before
            list(sampler)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 3, "of 7 batches, one waits"
        return batches

    first, second = share(0, 0), share(1, 0)
    seen = sum(first + second, [])
    assert len(set(seen)) == len(seen) == 18
    assert share(0, 0) == first != share(0, 1)
    be(0, 8, monkeypatch)
    with pytest.raises(LabError, match="7 batches cannot be shared by 8 processes; lower batch_s"):
        many_gpus.shared(LengthBatches(lengths, 3, torch.Generator()), seed=1)
    be(0, 1, monkeypatch)
    plain = LengthBatches(lengths, 3, torch.Generator())
    assert many_gpus.shared(plain, seed=1) is plain


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch):
    be(1, 2, monkeypatch)
    assert many_gpus.own_gpu(2, "auto") == 1 and many_gpus.own_gpu(0, "auto") is None
    with pytest.raises(LabError, match="2 processes.* has 1; give --nproc_per_node=1"):
        many_gpus.own_gpu(1, "cuda")
    with pytest.raises(LabError, match="'cuda:1' is one GPU for 2 processes; write cuda"):
        many_gpus.own_gpu(2, "cuda:1")


def test_one_process_writes(tmp_path, monkeypatch):
    for number in (0, 1):
        be(number, 2, monkeypatch)
        many_gpus.write_once(tmp_path / "results.csv", f"by process {number}")
    assert (tmp_path / "results.csv").read_text() == "by process 0"


# ---- one training per GPU ----------------------------------------------------------------------


def test_one_training_per_gpu_gives_what_one_after_the_other_gives(monkeypatch, mini_data, capsys):
    """With a network here; test_smoke has the notebooks."""
    used = fake_gpus.fake(monkeypatch)
    splits = datasets.genre_splits(mini_data / GENRE, "mel", 0)

    def fit(seed: int) -> tuple[int, list[float], dict[str, torch.Tensor]]:
        process.seed_everything(seed)
        model = models.Classifier(models.LSTMBackbone(128, 8), len(splits.base.classes))
        loader, *_ = datasets.make_loaders(splits, 8, seed)
        history = training.train(model, loader, epochs=1, mixup=0.3)
        return seed, history.train_loss, model.state_dict()

    serial = [fit(seed) for seed in range(3)]
    spread = one_per_gpu(fit, range(3), "cuda", ["3", "broken", "5"])
    assert capsys.readouterr().out == (
        "nothing is trained on GPU broken: Tesla P100 is there, but cannot compute\n"
    )
    assert [one[:2] for one in spread] == [one[:2] for one in serial]
    for (*_, here), (*_, there) in zip(serial, spread, strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)
    assert used == ["3", "broken", "5"]
    for device, gpus in (("cuda", ["3"]), ("cpu", ["3", "5"]), ("cuda:1", ["3", "5"])):
        assert one_per_gpu(str, [7, 8], device, gpus) == ["7", "8"]
    assert one_per_gpu(str, [7], "cuda", ["3", "5"]) == ["7"] and len(used) == 3
    with pytest.raises(TypeError):
        one_per_gpu(fit, [0, "no seed"], "cuda", ["3", "5"])
    opened = pickle.loads(pickle.dumps(splits.base.store))
    assert isinstance(opened.frames, np.memmap), "opened again, not copied"


def test_a_real_process_sees_its_gpu_alone_and_may_start_others(monkeypatch):
    monkeypatch.setattr("helpers.machinery.one_per_gpu.find_device", lambda name: (name, ""))

    def seen(item: str) -> tuple[str, str | None]:
        with ProcessPoolExecutor(1, get_context("spawn")) as another:
            return item, another.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result()

    items, gpus = zip(*one_per_gpu(seen, "ab", "cuda", ["3", "5"]), strict=True)
    assert items == ("a", "b") and set(gpus) == {"3", "5"}


def test_the_gpus_that_are_visible_keep_their_names(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,GPU-8932f937")
    assert visible_gpus() == ["6", "GPU-8932f937"]


def test_notebooks_side_by_side_have_a_gpu_each(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "resolved_device", lambda device: "cuda")
    monkeypatch.setattr(plan, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(plan, "usable_cores", lambda: 8)
    monkeypatch.setattr(plan, "memory_available", lambda: 2**36)
    small = SmallLab.made(tmp_path)
    both = plan.make_plan(small.lab, **small.options)
    assert (
        both.jobs == 2 and ("jobs", "2 (notebooks side by side, over 2 GPUs)") in both.described()
    )
    tasks = Tasks(both, display=None)
    with tasks._a_gpu() as first, tasks._a_gpu() as second:
        assert [first, second] == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    with Tasks(replace(both, jobs=1), display=None)._a_gpu() as all_of_them:
        assert all_of_them == {}


# ---- what does not fit -------------------------------------------------------------------------


def test_what_a_gpu_cannot_hold_is_cut_on_the_cpu_a_batch_ahead(mini_data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 2**34))
    clips = datasets.SpectrogramDataset(mini_data / GENRE, "train", "mel")
    options = {"shuffle": True, "seed": 1, "crop_frames": 40, "max_masked_bands": 4}
    plain, ahead = (
        datasets.make_loader(clips, 5, **options, device=device) for device in ("cpu", "cuda")
    )
    assert ahead.dataset.is_elsewhere and not plain.dataset.is_elsewhere
    for _ in range(2):  # epochs
        for one, other in zip(plain, ahead, strict=True):
            assert all(map(torch.equal, one, other))
    monkeypatch.setattr(ahead.dataset, "starts", None)
    with pytest.raises(TypeError):  # of the other thread
        next(iter(ahead))
