"""Two GPUs, faked by the CPU: each "process" of `one_per_gpu` is a thread."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from unittest.mock import patch

import pytest
import torch
from joblib.externals import loky
from joblib.externals.loky.backend.reduction import dumps

from helpers.machinery import one_per_gpu
from helpers.machinery.files import LabError

GPUS = ["3", "5"]


class Worker(ThreadPoolExecutor):
    """In place of a process: what goes in and comes out is pickled, and its settings are noted."""

    used: list[str] = []  # the GPU of each
    at_a_time = threading.Lock()  # these share their random numbers, which processes do not

    def __init__(self, max_workers: int, initializer: object, env: dict[str, str]) -> None:
        super().__init__(max_workers)
        self.env = env
        self.used.append(env["CUDA_VISIBLE_DEVICES"])

    def submit(self, function, item) -> Future:
        def travelled():
            there, thing = pickle.loads(dumps((function, item)))
            with self.at_a_time, patch.dict(os.environ, self.env):
                return pickle.loads(dumps(there(thing)))

        return super().submit(travelled)

    def shutdown(self, kill_workers: bool) -> None:
        super().shutdown()


def find_device(name: str) -> tuple[torch.device, str]:
    """As in a process that sees one GPU, of which `broken` ones do not compute."""
    if os.environ["CUDA_VISIBLE_DEVICES"] == "broken":
        raise LabError("Tesla P100 is there, but cannot compute")
    return torch.device(name), ""


def fake(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put threads in the place of processes; the GPUs that are given to each from here on."""
    monkeypatch.setattr(loky, "ProcessPoolExecutor", Worker)
    monkeypatch.setattr(one_per_gpu, "find_device", find_device)
    monkeypatch.setattr(Worker, "used", [])
    return Worker.used


def spread() -> None:
    """From here on, `one_per_gpu` finds two GPUs, whatever computes."""
    fake(pytest.MonkeyPatch())
    real = one_per_gpu.one_per_gpu
    one_per_gpu.one_per_gpu = lambda function, items, _: real(function, items, "cuda", GPUS)
