"""Two LSTMs side by side leave nothing behind and say what cannot be.

That they give what PyTorch gives, gradients too, stands among the properties.
"""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from helpers.machinery import two_threads
from helpers.machinery.two_threads import run_lstms

N_CLIPS, N_FRAMES, N_FEATURES, HIDDEN = 3, 11, 5, 4
LSTMs, Tensors = list[nn.LSTM], list[torch.Tensor]


@pytest.fixture
def lstms() -> LSTMs:
    torch.manual_seed(0)
    return [nn.LSTM(N_FEATURES, HIDDEN, batch_first=True) for _ in range(2)]


@pytest.fixture
def inputs() -> Tensors:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(N_CLIPS, N_FRAMES, N_FEATURES, generator=random) for _ in range(2)]


def test_frozen_weights_get_no_gradient_and_the_others_do(lstms, inputs):
    lstms[1].requires_grad_(False)
    sum(output.sum() for output in run_lstms(lstms, inputs)).backward()  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in lstms[0].parameters())
    assert all(weight.grad is None for weight in lstms[1].parameters())


def test_both_threads_compute_in_the_precision_of_the_caller(lstms, inputs):
    with torch.autocast("cpu", torch.bfloat16):
        mixed = run_lstms(lstms, inputs)
    assert [output.dtype for output in mixed] == [torch.bfloat16] * 2
    assert [output.dtype for output in run_lstms(lstms, inputs)] == [torch.float32] * 2


def test_the_threads_of_everything_else_stay_as_they_were(lstms, inputs):
    before = torch.get_num_threads()
    seen: list[int] = []
    run_lstms(lstms, inputs)
    assert torch.get_num_threads() == before
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert seen == [before]


def test_the_second_thread_takes_one_core_whatever_it_does_first():
    """Loaders use it before `train` asks for one thread; LSTMs would be three times slower."""
    two_threads._second_thread.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two_threads.at_the_same_time(lambda _: torch.ones(200_000).add_(1).sum(), [0, 1])
        torch.set_num_threads(1)
        assert two_threads.at_the_same_time(lambda _: torch.get_num_threads(), [0, 1]) == [1, 1]
    finally:
        torch.set_num_threads(before)


def test_a_mistake_in_the_second_lstm_is_raised_here(lstms, inputs):
    with pytest.raises(RuntimeError, match="input_size|expected"):
        run_lstms(lstms, [inputs[0], inputs[1][:, :, 1:]])
    torch.testing.assert_close(run_lstms(lstms, inputs)[1], lstms[1](inputs[1])[0])
