"""Holding what a notebook writes itself against the kit's version. Used by 00, 01, 04 to 10."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from helpers.machinery.files import LabError


def agree(
    what: str, own: Callable[[], Any], kit: Callable[[], Any] | Any, tolerance: float = 1e-5
) -> None:
    """Compute both sides and say that they give the same numbers, with shape and largest gap.

    Sides are functions without arguments, or, for the kit's, an array or tensor. Raises LabError,
    one line that says what differs: a side that breaks down, shapes, or values.
    """
    try:
        first = _as_array(own())
    except Exception as error:
        if callable(kit):
            kit()  # where it fails as well, it says what is wrong with the data
        told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no text'}"
        missing = "before Module.__init__" in told
        hint = "; call super().__init__() first" if missing else "; mend that line"
        raise LabError(f"{what}: your version breaks down with {told}{hint}") from error
    second = _as_array(kit() if callable(kit) else kit)
    if first.shape != second.shape:
        shapes = f"yours has the shape {first.shape}, the kit's {second.shape}"
        raise LabError(f"{what}: {shapes}; look at the last operation")
    gap = float(np.max(np.abs(first - second), initial=0.0))
    if not gap <= tolerance:  # also where one is NaN
        places = np.flatnonzero(~(np.abs(first - second) <= tolerance))
        at = tuple(int(i) for i in np.unravel_index(places[0], first.shape))
        raise LabError(
            f"{what}: same shape {first.shape}, but {len(places)} of {first.size} values differ, "
            f"by {gap:.3g} at most; at {list(at)} yours is {first[at]:.4g}, the kit's "
            f"{second[at]:.4g} (is your input scaled, and the padding masked?)"
        )
    print(f"{what}: the same, shape {first.shape}, largest difference {gap:.1e}")


def _as_array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
