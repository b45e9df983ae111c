"""Two LSTMs on a CPU at the same time, each in a thread of its own.

An LSTM's steps follow one another and each is small. Several threads on the same step wait for each
other at every one of them, gain little, and lose many times that when another program is busy. Two
LSTMs that know nothing of each other never wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import nn

Result = TypeVar("Result")


def run_lstms(lstms: Sequence[nn.LSTM], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs [B, T, hidden] of two LSTMs, each on its own input [B, T, F]; forward and back.

    They must be of one layer and one direction, `batch_first`. The numbers do not depend on how
    many threads or cores there are. Gradients flow once (`retain_graph` and second derivatives do
    not go through). Hooks on the LSTMs are not called.
    Raises RuntimeError for inputs that do not fit, as `nn.LSTM` does.
    """
    tensors: list[torch.Tensor] = []
    for lstm, x in zip(lstms, inputs, strict=True):
        lstm.check_input(x, None)  # below, a wrong number of features would go unnoticed
        tensors += [x, *lstm._flat_weights]
    return list(_TwoLSTMs.apply(*tensors))


class _TwoLSTMs(torch.autograd.Function):
    """A graph of its own for each LSTM, so that the ways back can run at the same time too."""

    @staticmethod
    def forward(ctx: Any, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        needed = ctx.needs_input_grad
        leaves = [t.detach().requires_grad_(n) for t, n in zip(tensors, needed, strict=True)]
        half = len(leaves) // 2
        parts = leaves[:half], leaves[half:]
        # Both belong to the thread, so that the second one must be told.
        enabled, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def output(part: list[torch.Tensor]) -> torch.Tensor:
            x, *weights = part
            start = x.new_zeros(1, len(x), weights[1].shape[1])
            autocast = torch.autocast("cpu", dtype, enabled, cache_enabled=False)
            with torch.set_grad_enabled(any(needed)), autocast:
                options = True, 1, 0.0, any(needed), False, True  # bias, one layer, no dropout, ...
                return torch.lstm(x, (start, start), weights, *options)[0]

        ctx.parts, ctx.outputs = parts, at_the_same_time(output, parts)
        return tuple(output.detach() for output in ctx.outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        def gradients_of(number: int) -> list[torch.Tensor | None]:
            if ctx.outputs[number].requires_grad:  # or all of it is frozen
                ctx.outputs[number].backward(gradients[number])
            return [leaf.grad for leaf in ctx.parts[number]]

        return tuple(chain(*at_the_same_time(gradients_of, (0, 1))))


def at_the_same_time(function: Callable[[Any], Result], items: Sequence[Any]) -> list[Result]:
    """The function of two items: of the first one in this thread, of the second beside it."""
    first, second = items
    beside = _second_thread(os.getpid()).submit(function, second)
    try:
        return [function(first), beside.result()]
    finally:
        beside.exception()  # nothing goes on behind an error or Ctrl-C


@cache
def _second_thread(process: int) -> ThreadPoolExecutor:
    """A thread that takes one core. A forked process has none of its parent's threads."""
    thread = ThreadPoolExecutor(1, "second thread", initializer=_take_one_core)
    before = torch.get_num_threads()
    thread.submit(int).result()
    torch.set_num_threads(before)  # part of the setting is common to all threads
    return thread


def _take_one_core() -> None:
    torch.set_num_threads(1)
    # A thread takes the number common to all when it first asks: now, before that is set back.
    torch.get_num_threads()
