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

    They must be of one layer and one direction, `batch_first`; the same one may stand twice. The
    numbers do not depend on how many threads or cores there are. Gradients flow once
    (`retain_graph` and second derivatives do not go through). Hooks on the LSTMs are not called.
    Raises RuntimeError for inputs that do not fit, as `nn.LSTM` does.
    """
    tensors: list[torch.Tensor] = []
    for lstm, x in zip(lstms, inputs, strict=True):
        lstm.check_input(x, None)  # below, a wrong number of features would go unnoticed
        tensors += [x, *lstm._flat_weights]
    return list(_TwoLSTMs.apply(len(lstms), *tensors))


class _TwoLSTMs(torch.autograd.Function):
    """A graph of its own for each LSTM, so that the ways back can run at the same time too."""

    @staticmethod
    def forward(ctx: Any, n_lstms: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        needed = ctx.needs_input_grad[1:]
        leaves = [t.detach().requires_grad_(n) for t, n in zip(tensors, needed, strict=True)]
        size = len(leaves) // n_lstms
        parts = [leaves[first : first + size] for first in range(0, len(leaves), size)]
        # Both belong to the thread, so that the second one must be told.
        mixed = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def output(part: list[torch.Tensor]) -> torch.Tensor:
            enabled, dtype = mixed
            autocast = torch.autocast("cpu", dtype, enabled, cache_enabled=False)
            with torch.set_grad_enabled(any(needed)), autocast:
                return _output(*part)

        ctx.parts, ctx.outputs = parts, at_the_same_time(output, parts)
        return tuple(output.detach() for output in ctx.outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        def gradients_of(number: int) -> list[torch.Tensor | None]:
            leaves = ctx.parts[number]
            needed = [leaf for leaf in leaves if leaf.requires_grad]
            if not needed:  # all of it is frozen
                return [None] * len(leaves)
            found = iter(torch.autograd.grad(ctx.outputs[number], needed, gradients[number]))
            return [next(found) if leaf.requires_grad else None for leaf in leaves]

        return (None, *chain(*at_the_same_time(gradients_of, range(len(ctx.outputs)))))


def _output(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    """What `nn.LSTM` computes with these weights, [B, T, hidden]."""
    hidden_size = weights[1].shape[1]
    start = x.new_zeros(1, len(x), hidden_size)
    for_gradients = torch.is_grad_enabled()
    return torch.lstm(x, (start, start), weights, True, 1, 0.0, for_gradients, False, True)[0]


def at_the_same_time(function: Callable[[Any], Result], items: Sequence[Any]) -> list[Result]:
    """The function of each item: of the first one in this thread, of the others beside it."""
    others = [_second_thread(os.getpid()).submit(function, item) for item in items[1:]]
    try:
        return [function(items[0]), *(other.result() for other in others)]
    finally:
        for other in others:  # nothing goes on behind an error or Ctrl-C
            other.exception()


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
