"""Trained models as files: weights, scaling and description in safetensors, checked when read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from helpers.datasets import FEATURE_ROWS, BandScaler
from helpers.machinery.files import LabError, one_line
from helpers.machinery.many_gpus import write_once
from helpers.models import build_model

_DESCRIPTION = ("spec", "feature", "classes", "axes", "epoch", "note")  # what is stored as text


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with everything that is needed to use it."""

    model: nn.Module
    spec: dict[str, Any]  # what build_model takes
    feature: str
    scaler: BandScaler
    classes: list[str] = field(default_factory=list)  # of a classifier
    axes: list[str] = field(default_factory=list)  # of a regressor
    epoch: int = 0
    note: str = ""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Store weights, scaling and description in one safetensors file; returns its path."""
    about = {key: getattr(checkpoint, key) for key in _DESCRIPTION}
    tensors = {f"model.{key}": value for key, value in checkpoint.model.state_dict().items()}
    for statistic, values in vars(checkpoint.scaler).items():
        tensors[f"scaler.{statistic}"] = torch.from_numpy(values)
    tensors = {key: value.cpu().contiguous() for key, value in tensors.items()}
    write_once(path, save(tensors, metadata={"about": json.dumps(about)}))
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file; LabError when it is no whole checkpoint of a model we can build."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise LabError(f"{path}: no such checkpoint; run its notebook first") from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise LabError(
            f"{path}: no whole checkpoint ({one_line(error)}); delete it and run its notebook again"
        ) from error
    try:
        scaler = BandScaler(
            tensors.pop("scaler.mean").numpy(), tensors.pop("scaler.deviation").numpy()
        )
        model = build_model(about["spec"])
        model.load_state_dict({key.removeprefix("model."): t for key, t in tensors.items()})
        rest = {key: about[key] for key in _DESCRIPTION}
    except Exception as error:  # a description may say anything, and fail in any way
        raise LabError(
            f"{path}: its weights are of another model ({one_line(error)}); run its notebook again"
        ) from error
    checkpoint = Checkpoint(model=model.eval(), scaler=scaler, **rest)
    if contradiction := _contradiction(checkpoint):
        raise LabError(f"{path}: {contradiction}; run its notebook again")
    return checkpoint


def _contradiction(checkpoint: Checkpoint) -> str:
    """How a checkpoint's description disagrees with its weights; empty when it does not."""
    rows = FEATURE_ROWS.get(str(checkpoint.feature))
    if rows is None:
        return f"unknown feature {checkpoint.feature!r}"
    n_bands = rows.stop - rows.start
    has = f"but feature {checkpoint.feature!r} has {n_bands}"
    for statistic in (checkpoint.scaler.mean, checkpoint.scaler.deviation):
        if statistic.shape != (n_bands,):
            return f"its scaling has shape {statistic.shape}, {has} bands"
    n_taken = checkpoint.spec["backbone_options"].get("n_features", n_bands)
    if n_taken != n_bands:
        return f"its model takes {n_taken} bands, {has}"
    n_outputs = checkpoint.model.head.out_features
    for what, names in (("classes", checkpoint.classes), ("axes", checkpoint.axes)):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return f"its {what} are no list of names"
        if names and len(names) != n_outputs:
            return f"it names {len(names)} {what}, but its model has {n_outputs} outputs"
    return ""
