"""The training loop in plain PyTorch; prediction. Used by 05, 06, 07, 07b, 08, 09, 10, 11, 11b."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from helpers.machinery import many_gpus
from helpers.machinery.batches import Batch, unwrap
from helpers.machinery.files import LabError
from helpers.machinery.loss_scaler import LossScaler
from helpers.machinery.process import autocast, computing, headless, report_progress
from helpers.models import Classifier, MultitaskLoss, MultitaskRegressor

if TYPE_CHECKING:
    import pandas as pd

OVERFIT_BATCHES = 4
GRADIENT_NORM = 1.0


@dataclass
class History:
    """What one call of `train` did, epoch by epoch."""

    name: str
    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int = 0  # counted from 1; the epoch whose weights were kept
    stage_ends: list[int] = field(default_factory=list)  # last epochs of the stages before the last

    def table(self) -> pd.DataFrame:
        """One row per epoch: epoch, train_loss, val_loss (NaN without validation), seconds."""
        import pandas as pd

        n_epochs = len(self.train_loss)
        return pd.DataFrame(
            {
                "epoch": range(1, n_epochs + 1),
                "train_loss": self.train_loss,
                "val_loss": self.val_loss or [math.nan] * n_epochs,
                "seconds": self.seconds,
            }
        )

    def then(self, later: History) -> History:
        """This training and a second one of the same model, as one; both with validation."""
        losses = self.val_loss + later.val_loss
        return History(
            self.name,
            self.train_loss + later.train_loss,
            losses,
            self.seconds + later.seconds,
            best_epoch=losses.index(min(losses)) + 1,
            stage_ends=[*self.stage_ends, len(self.train_loss)],
        )


def default_loss(model: nn.Module) -> nn.Module:
    """The loss that fits a model's head: cross-entropy, squared error, or the sum over axes."""
    if isinstance(model, Classifier):
        return nn.CrossEntropyLoss()
    if isinstance(model, MultitaskRegressor):
        return MultitaskLoss(n_axes=model.head.out_features)
    return nn.MSELoss()


def train(
    model: nn.Module,
    train_loader: DataLoader,
    val_loader: DataLoader | None = None,
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    warmup_epochs: float = 1.0,
    patience: int = 5,
    stop_after: int | None = None,
    loss: nn.Module | None = None,
    mixup: float = 0.0,
    device: torch.device | str = "cpu",
    overfit_batch: bool = False,
    name: str = "model",
    after_epoch: Callable[[nn.Module], None] | None = None,
) -> History:
    """Train with Adam; keep the weights of the epoch with the lowest validation loss.

    The learning rate rises during `warmup_epochs` and then falls to a hundredth along a half cosine
    over `epochs`. With `val_loader`, training stops once the validation loss has not fallen for
    `patience` epochs, and `model` ends with its best epoch's weights. Without it, all epochs run
    (or `stop_after` of them, on the same schedule) and `model` ends with the last one's.

    With `mixup`, for example 0.3, the network learns on mixtures of two clips of a batch, weighted
    by draws of Beta(mixup, mixup), and answers for both labels (Zhang et al. 2018, arXiv
    1710.09412): fewer clips can be learned by heart. The features must be scaled, so that the 0 of
    the padding is a band's mean.

    `overfit_batch=True` (handout, steps 5β and 7δ) trains on the first 4 batches alone, without
    dropout, decay, mixtures or validation, until the loss is near 0: a network that cannot do this
    has a bug.

    Frozen parameters (`requires_grad_(False)`) stay as they are, and so do the statistics of batch
    norms whose parameters are frozen (step 9δ).

    `after_epoch` is called with the model after each epoch, and must leave it as it is.

    Several processes of torchrun train one model, each on its share of the batches.

    Raises LabError when the loss is not finite (in float16: stays so), when outputs and targets
    differ in shape, and, before anything is computed, when a clip is too short for the model.
    """
    device = torch.device(device)
    for loader in (train_loader, val_loader):
        _require_frames(loader, model)
    model.to(device)
    loss = (loss or default_loss(model)).to(device)
    batches: DataLoader | list[Batch] = train_loader
    if overfit_batch:
        batches, val_loader = list(islice(train_loader, OVERFIT_BATCHES)), None
        weight_decay = mixup = 0.0
    n_steps = max(1, len(batches))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise LabError(f"{name}: all parameters are frozen; call requires_grad_(True) on some")
    optimizer = torch.optim.Adam(trained, lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, _warm_up_then_cosine(epochs * n_steps, warmup_epochs * n_steps)
    )
    scaler = LossScaler(device)  # does nothing, but in float16
    history = History(name)
    best_loss, best_weights = math.inf, None
    n_epochs = epochs if stop_after is None else min(stop_after, epochs)
    bar = tqdm(total=n_epochs, desc=name, unit="epoch", disable=headless(), leave=False)
    with computing(model, device), bar:
        together = many_gpus.data_parallel(model, device)  # the model itself, without torchrun
        for epoch in range(n_epochs):
            started = time.perf_counter()
            train_loss = _train_epoch(
                together, batches, loss, optimizer, schedule, scaler, device,
                dropout=not overfit_batch, mixup=mixup,
            )  # fmt: skip
            many_gpus.share_buffers(model)
            history.train_loss.append(train_loss)
            if val_loader is not None:
                history.val_loss.append(evaluate_loss(model, val_loader, loss, device))
            history.seconds.append(time.perf_counter() - started)
            if after_epoch is not None:
                after_epoch(model)
            _show_epoch(bar, history, n_epochs)
            if val_loader is not None:
                if history.val_loss[-1] < best_loss:
                    best_loss, history.best_epoch = history.val_loss[-1], epoch + 1
                    best_weights = copy.deepcopy(model.state_dict())
                if epoch + 1 - history.best_epoch >= patience:
                    break
            if overfit_batch and train_loss < 1e-3:
                break
    if val_loader is None:
        history.best_epoch = len(history.train_loss)
        return history
    if best_weights is None:
        raise LabError("the validation loss was never finite; lower learning_rate")
    model.load_state_dict(best_weights)
    return history


def _train_epoch(
    model: nn.Module,
    batches: DataLoader | list[Batch],
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    scaler: LossScaler,
    device: torch.device,
    dropout: bool,
    mixup: float,
) -> float:
    """One pass over the batches; returns the mean loss per clip."""
    _set_modes(model, dropout)
    total, n_clips = 0.0, 0
    for x, y, lengths in batches:
        optimizer.zero_grad()
        value = _mixed_loss(model, loss, (x, y, lengths), device, mixup)
        finite = scaler.is_finite(value)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        # One long clip can give an LSTM a huge gradient; a bounded step survives it.
        nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        scaler.step(optimizer)
        if scaler.made_step():  # a step that was left out is none on the schedule either
            schedule.step()
        if finite:
            total, n_clips = total + value.item() * len(y), n_clips + len(y)
    total, n_clips = many_gpus.summed(total, n_clips, device=device)
    return total / n_clips if n_clips else math.nan


@torch.no_grad()
def evaluate_loss(
    model: nn.Module, loader: DataLoader, loss: nn.Module, device: torch.device | str
) -> float:
    """The mean loss per clip over a loader, with dropout off and batch norm frozen."""
    model.eval()
    total, n_clips = 0.0, 0
    for batch in loader:
        value = _batch_loss(model, loss, batch, torch.device(device))
        total, n_clips = total + value.item() * len(batch[1]), n_clips + len(batch[1])
    return many_gpus.agreed(total / n_clips, device)


@torch.no_grad()
def predict(model: nn.Module, loader: DataLoader, device: torch.device | str = "cpu") -> np.ndarray:
    """The model's outputs for every clip of an unshuffled loader, float32, in the loader's order.

    [n, n_classes] logits of a classifier, [n] of a regressor, [n, n_axes] of a multitask model.
    Raises LabError before anything is computed when a clip is too short for the model.
    """
    device = torch.device(device)
    _require_frames(loader, model)
    model.to(device).eval()
    outputs = []
    with computing(model, device):
        for x, _, lengths in loader:
            # In float32 on every device: bfloat16 has three digits, and ranks would get ties.
            outputs.append(model(x.to(device), lengths.to(device)).cpu())
    return torch.cat(outputs).numpy()


def _mixed_loss(
    model: nn.Module, loss: nn.Module, batch: Batch, device: torch.device, mixup: float
) -> torch.Tensor:
    """The loss of each clip mixed with another one of the batch, as far as `mixup` says."""
    if not mixup:
        return _batch_loss(model, loss, batch, device)
    x, y, lengths = batch
    partners = torch.randperm(len(y))
    drawn = float(torch.distributions.Beta(mixup, mixup).sample())
    share = max(drawn, 1 - drawn)  # each clip prevails in its own mixture
    mixed = share * x + (1 - share) * x[partners]

    def of_both(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return share * loss(outputs, targets) + (1 - share) * loss(outputs, targets[partners])

    longer = torch.maximum(lengths, lengths[partners])
    return _batch_loss(model, of_both, (mixed, y, longer), device)


def _batch_loss(
    model: nn.Module,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batch: Batch,
    device: torch.device,
) -> torch.Tensor:
    x, y, lengths = (part.to(device, non_blocking=True) for part in batch)
    with autocast(device):
        outputs = model(x, lengths)
    outputs = outputs.float()
    if y.is_floating_point() and outputs.shape != y.shape:
        raise LabError(
            f"the model gives {tuple(outputs.shape)} for targets of {tuple(y.shape)}; the loss "
            "would broadcast them silently: make the shapes equal"
        )
    return loss(outputs, y)


def _require_frames(loader: DataLoader | None, model: nn.Module) -> None:
    """Raise LabError naming the first clip with fewer frames than the poolings of a CNN need."""
    try:
        base, clips = unwrap(loader.dataset)
    except (AttributeError, LabError):  # none, or of other data: the model itself will complain
        return
    n_frames = max(getattr(module, "min_frames", 1) for module in model.modules())
    short = clips[base.lengths[clips] < n_frames]
    if len(short):
        raise LabError(
            f"{base.tracks['path'][short[0]]}: {base.lengths[short[0]]} frames are too short for "
            f"this CNN, which needs {n_frames}; remove the clip, or leave such clips out with "
            "./run_all.sh --skip-bad"
        )


def _set_modes(model: nn.Module, dropout: bool) -> None:
    """Training mode, but for dropout where it is not wanted, and for frozen batch norms.

    Batch norm in training mode moves its running statistics, even without any gradient.
    """
    model.train()  # every epoch: validation has switched it off
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        frozen = isinstance(module, nn.BatchNorm2d) and not any(p.requires_grad for p in own)
        if frozen or (isinstance(module, nn.Dropout) and not dropout):
            module.eval()


def _warm_up_then_cosine(n_steps: int, n_warmup: float) -> Callable[[int], float]:
    """The factor on the learning rate as a function of the step."""

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / (n_warmup + 1)
        done = (step - n_warmup) / max(1.0, n_steps - n_warmup)
        return max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    return factor


def _show_epoch(bar: tqdm, history: History, n_epochs: int) -> None:
    """Show the newest losses and the time left, here and to the runner."""
    done = len(history.train_loss)
    values = {"train_loss": history.train_loss[-1]}
    if history.val_loss:
        values["val_loss"] = history.val_loss[-1]
    bar.set_postfix({key: f"{value:.3f}" for key, value in values.items()})
    bar.update()
    left = sum(history.seconds) / done * (n_epochs - done)
    report_progress(
        model=history.name, epoch=done, epochs=n_epochs, seconds_left=round(left), **values
    )
