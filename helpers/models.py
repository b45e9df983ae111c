"""Backbones (LSTM, CNN, AST), heads, losses. Used by 01, 04, 05, 06, 07, 07b, 08, 09, 10, 11b.

Every model is called as `model(x, lengths)` with x [B, T, F] padded with 0 behind each clip's
length, and gives the same answer for a clip whatever it is batched or padded with.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.fft import dct
from torch import nn

from helpers.machinery.files import LabError
from helpers.machinery.two_threads import run_lstms
from helpers.machinery.weights import IMAGENET, load_ast_weights

POOLINGS = ("mean", "last", "mean_max", "attention")


def time_mask(lengths: torch.Tensor, n_frames: int) -> torch.Tensor:
    """True where a frame is real: [B, T] bool from lengths [B]."""
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None]


def reverse_inside_lengths(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Turn each sequence of x [B, T, D] around inside its own length; the padding stays behind."""
    steps = torch.arange(x.shape[1], device=x.device)
    turned = lengths[:, None] - 1 - steps
    source = torch.where(turned >= 0, turned, steps)
    return x.gather(1, source[:, :, None].expand_as(x))


# ---- LSTM --------------------------------------------------------------------------------------


def stack_frames(
    x: torch.Tensor, lengths: torch.Tensor, n_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Join every `n_frames` successive frames into one long one, so that there are fewer steps.

    x [B, T, F], lengths [B] -> [B, T / n, n * F] and lengths, both rounded up; 0 fills the last.
    """
    n_clips, n_steps, n_features = x.shape
    x = x * time_mask(lengths, n_steps)[:, :, None]
    x = nn.functional.pad(x, (0, 0, 0, -n_steps % n_frames))
    return x.reshape(n_clips, -1, n_frames * n_features), -(-lengths // n_frames)


def cosine_matrix(n_bands: int) -> torch.Tensor:
    """The orthonormal cosine transform (DCT-II) over bands, [n_bands, n_bands].

    `frames @ cosine_matrix(n)` turns mel bands into cepstral coefficients, as MFCCs are made of
    them (Davis and Mermelstein 1980), but keeps them all: a rotation, which loses nothing.
    """
    return torch.from_numpy(dct(np.eye(n_bands), norm="ortho", axis=1)).float()


class LSTMBackbone(nn.Module):
    """A stack of (bidirectional) LSTM layers and a pooling over each clip's real frames.

    [B, T, F] -> [B, out_features]. Gives what `pack_padded_sequence` gives, without packing, which
    on a CPU takes half a minute per batch of full clips: the backward direction runs on sequences
    that are reversed inside their own length, and the pooling leaves the padding out. With `stack`,
    each step reads so many frames at once: 1,290 steps are many for an LSTM. With `cepstral_bands`,
    the first so many bands, the mel ones, are read as cepstral coefficients: neighbouring bands
    tell nearly the same, their coefficients do not.
    """

    def __init__(
        self,
        n_features: int,
        hidden_size: int = 128,
        n_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.2,
        pooling: str = "mean",
        stack: int = 1,
        cepstral_bands: int = 0,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise LabError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
        if not 0 <= cepstral_bands <= n_features:
            raise LabError(f"cepstral_bands {cepstral_bands} of frames with {n_features} values")
        # No part of the checkpoint: it follows from the number of bands.
        cosines = cosine_matrix(cepstral_bands) if cepstral_bands else None
        self.register_buffer("cosines", cosines, persistent=False)
        self.bidirectional, self.pooling, self.stack = bidirectional, pooling, stack
        n_directions = 2 if bidirectional else 1
        width = n_directions * hidden_size
        inputs = [stack * n_features] + [width] * (n_layers - 1)
        self.forward_layers = nn.ModuleList(
            nn.LSTM(size, hidden_size, batch_first=True) for size in inputs
        )
        self.backward_layers = nn.ModuleList(
            nn.LSTM(size, hidden_size, batch_first=True) for size in inputs if bidirectional
        )
        self.dropout = nn.Dropout(dropout)  # between layers, and before the head
        self.attention = nn.Linear(width, 1) if pooling == "attention" else None
        self.out_features = 2 * width if pooling == "mean_max" else width

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> [B, out_features]."""
        if self.cosines is not None:
            n_bands = len(self.cosines)
            # In float32: the high coefficients are small differences of large numbers.
            with torch.autocast(x.device.type, enabled=False):
                coefficients = x[..., :n_bands].float() @ self.cosines
            x = torch.cat([coefficients, x[..., n_bands:]], dim=-1)
        if self.stack > 1:
            x, lengths = stack_frames(x, lengths, self.stack)
        return self.dropout(self.pool(self.steps(x, lengths), lengths))

    def steps(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The last layer's output at every frame, [B, T, directions * hidden]."""
        for number, forward in enumerate(self.forward_layers):
            x = self.dropout(x) if number else x
            if not self.bidirectional:
                x = forward(x)[0].contiguous()  # dropout draws in the order of memory
                continue
            pair = [forward, self.backward_layers[number]], [x, reverse_inside_lengths(x, lengths)]
            if x.device.type == "cpu":
                ahead, back = run_lstms(*pair)  # side by side
            else:
                ahead, back = (lstm(sequence)[0] for lstm, sequence in zip(*pair, strict=True))
            x = torch.cat([ahead, reverse_inside_lengths(back, lengths)], dim=-1)
        return x

    def pool(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Summarise the real frames of each clip: [B, T, D] -> [B, out_features]."""
        real = time_mask(lengths, steps.shape[1])[:, :, None]
        if self.pooling == "last":
            return self._last(steps, lengths)
        if self.attention is not None:
            scores = self.attention(steps).masked_fill(~real, float("-inf"))
            return (steps * scores.softmax(dim=1)).sum(1)
        mean = (steps * real).sum(1) / lengths[:, None]
        if self.pooling == "mean":
            return mean
        return torch.cat([mean, steps.masked_fill(~real, float("-inf")).amax(1)], dim=-1)

    def _last(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Each direction at the end of its own reading: last real frame, and first frame."""
        rows = torch.arange(len(steps), device=steps.device)
        last = steps[rows, lengths - 1]
        if not self.bidirectional:
            return last
        half = steps.shape[-1] // 2
        return torch.cat([last[:, :half], steps[:, 0, half:]], dim=-1)


# ---- CNN ---------------------------------------------------------------------------------------


def conv_block(in_channels: int, out_channels: int, kernel: int, pool: int) -> nn.Sequential:
    """One block of the handout's CNN: convolution, batch norm, ReLU, max pooling, in this order."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),  # spares a copy of the largest arrays
        nn.MaxPool2d(pool),
    )


class CNNBackbone(nn.Module):
    """Four conv-BN-ReLU-maxpool blocks over the spectrogram as a one-channel image (step 7β).

    [B, T, F] -> [B, out_features]. The time axis is averaged over each clip's real frames, so
    clips of any length fit; frequency keeps its coarse position. Raises LabError for clips with
    fewer frames than the four poolings need.
    """

    def __init__(
        self,
        n_features: int = 128,
        channels: Sequence[int] = (16, 32, 64, 128),
        kernel: int = 3,
        pool: int = 2,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        sizes = [1, *channels]
        self.pool = pool
        self.blocks = nn.ModuleList(
            conv_block(before, after, kernel, pool)
            for before, after in zip(sizes[:-1], sizes[1:], strict=True)
        )
        # The same numbers in another order in memory, which convolutions on CPUs and GPUs prefer.
        self.blocks.to(memory_format=torch.channels_last)
        self.min_frames = pool ** len(self.blocks)
        n_bands = n_features // self.min_frames
        if n_bands < 1:
            raise LabError(
                f"{n_features} bands are too few for {len(channels)} poolings by {pool}; "
                "use mel or fused, or fewer blocks"
            )
        self.dropout = nn.Dropout(dropout)
        self.out_features = channels[-1] * n_bands

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> [B, out_features]."""
        image, lengths = self.activations(x, lengths)[-1]
        summary = image.sum(-1) / lengths[:, None, None]  # the padding is 0: a masked mean
        return self.dropout(summary.flatten(1))

    def activations(
        self, x: torch.Tensor, lengths: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """After each block: image [B, channels, bands, frames] and the lengths [B] left in it."""
        shortest = int(lengths.min())
        if shortest < self.min_frames:
            raise LabError(
                f"a clip of {shortest} frames is too short for this CNN, which needs "
                f"{self.min_frames}; remove it (check-data names it) or use fewer blocks"
            )
        image = x.transpose(1, 2)[:, None]  # frequency up, time across
        stages = []
        for block in self.blocks:
            lengths, shortest = lengths // self.pool, shortest // self.pool
            image = block(image)
            if shortest < image.shape[-1]:
                # Zero behind each clip, as a convolution's own border: padding changes nothing.
                image = image * time_mask(lengths, image.shape[-1])[:, None, None]
            stages.append((image, lengths))
        return stages


# ---- AST ---------------------------------------------------------------------------------------

PATCH = 16  # bands and frames of a patch
# Width of a token, blocks, heads. All but the kit's own `mini` are DeiT's (Touvron et al. 2021).
AST_SIZES = {
    "mini": (64, 3, 4),
    "tiny224": (192, 12, 3),
    "small224": (384, 12, 6),
    "base224": (768, 12, 12),
    "base384": (768, 12, 12),
}


class _Attention(nn.Module):
    """Each token asks all others, in several heads side by side (Vaswani et al. 2017)."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, real: torch.Tensor | None, n_asking: int | None
    ) -> torch.Tensor:
        """x [B, N, D] -> the answers to its first `n_asking` tokens, [B, n_asking, D]."""
        heads = self.qkv(x).unflatten(2, (3, self.n_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each [B, heads, N, D / heads]
        answers = nn.functional.scaled_dot_product_attention(
            query[:, :, :n_asking], key, value, attn_mask=real
        )
        return self.proj(answers.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Attention and a small network for each token, each added to what came in, [B, N, D].

    `real` [B, 1, 1, N] says which tokens may be asked (None: all). With `n_asking` only the first
    so many tokens ask, and are returned. The names of the parts are timm's.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        wide, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(fc1=wide, act=nn.GELU(), fc2=narrow))

    def forward(
        self, x: torch.Tensor, real: torch.Tensor | None = None, n_asking: int | None = None
    ) -> torch.Tensor:
        """x [B, N, D] -> [B, N or n_asking, D]."""
        x = x[:, :n_asking] + self.attn(self.norm1(x), real, n_asking)
        return x + self.mlp(self.norm2(x))


class ASTBackbone(nn.Module):
    """The Audio Spectrogram Transformer (Gong, Chung and Glass 2021), step 7.2β.

    [B, T, F] -> [B, feature_size]. Patches of 16 x 16, every `fstride` bands and `tstride` frames,
    become tokens; a class and a distillation token ask them for what they need, and their mean is
    the answer. Constructor, sizes and names of weights are the course's, whose checkpoints fit, but
    training begins from scratch unless `imagenet_pretrain`. A clip that is longer than `input_tdim`
    frames is cut into windows of so many, which are averaged; in a shorter one no token sees the
    padding. Raises LabError for sizes that do not fit.
    """

    def __init__(
        self,
        fstride: int = 10,
        tstride: int = 10,
        input_fdim: int = 128,
        input_tdim: int = 1024,
        imagenet_pretrain: bool = False,
        model_size: str = "base384",
        feature_size: int = 1000,
    ) -> None:
        super().__init__()
        if model_size not in AST_SIZES:
            raise LabError(f"unknown model_size {model_size!r}; known: {', '.join(AST_SIZES)}")
        for name, value in (("input_fdim", input_fdim), ("input_tdim", input_tdim)):
            if value < PATCH:
                raise LabError(f"{name} {value} is less than a patch; give at least {PATCH}")
        for name, value in (("fstride", fstride), ("tstride", tstride)):
            if value < 1:
                raise LabError(f"{name} {value} is less than 1; give at least 1")
        width, n_blocks, n_heads = AST_SIZES[model_size]
        self.input_fdim, self.input_tdim, self.tstride = input_fdim, input_tdim, tstride
        self.grid = (input_fdim - PATCH) // fstride + 1, (input_tdim - PATCH) // tstride + 1
        self.model_size, self.out_features = model_size, feature_size
        self.v = nn.Module()  # timm's names and order, as in the course
        self.v.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.v.pos_embed = nn.Parameter(torch.zeros(1, 2 + self.grid[0] * self.grid[1], width))
        self.v.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        patches = nn.Conv2d(1, width, PATCH, stride=(fstride, tstride))
        self.v.patch_embed = nn.ModuleDict({"proj": patches})
        self.v.blocks = nn.ModuleList(EncoderBlock(width, n_heads) for _ in range(n_blocks))
        self.v.norm = nn.LayerNorm(width, eps=1e-6)
        for name, parameter in self.v.named_parameters():
            if parameter.ndim in (2, 3):  # tokens, positions, and what is linear in the blocks
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.startswith("blocks.") and name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, feature_size))
        if imagenet_pretrain:
            self.load_weights(IMAGENET)

    def load_weights(self, source: str | Path) -> None:
        """Begin with the weights of a file, or with DeiT's: "imagenet"; see `load_ast_weights`."""
        load_ast_weights(self, source, self.model_size)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> [B, feature_size]."""
        windows, left = self.windows(x, lengths)
        vectors = self.mlp_head(self.tokens(windows, left).mean(1))  # [B * n, feature_size]
        shares = left.view(len(x), -1, 1) / lengths[:, None, None]  # of the clip in each window
        return (vectors.view(len(x), -1, self.out_features) * shares).sum(1)

    def windows(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips cut into windows [B * n, input_tdim, F], and the real frames of each, [B * n]."""
        n_frames = self.input_tdim
        if x.shape[2] != self.input_fdim:
            raise LabError(f"this AST takes {self.input_fdim} bands (input_fdim), not {x.shape[2]}")
        x = x * time_mask(lengths, x.shape[1])[:, :, None]
        x = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % n_frames))
        starts = torch.arange(0, x.shape[1], n_frames, device=x.device)
        left = (lengths[:, None] - starts).clamp(0, n_frames)
        return x.reshape(-1, n_frames, self.input_fdim), left.flatten()

    def tokens(self, x: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        """Class and distillation token of windows [W, input_tdim, F] at the end, [W, 2, D]."""
        patches = self.v.patch_embed["proj"](x.transpose(1, 2)[:, None])  # [W, D, rows, columns]
        own = torch.cat([self.v.cls_token, self.v.dist_token], 1).expand(len(x), -1, -1)
        tokens = torch.cat([own, patches.flatten(2).transpose(1, 2)], 1) + self.v.pos_embed
        real, (*blocks, last) = self.real_tokens(left), self.v.blocks
        for block in blocks:
            tokens = block(tokens, real)
        return self.v.norm(last(tokens, real, 2))  # nobody asks the others any more

    def real_tokens(self, left: torch.Tensor) -> torch.Tensor | None:
        """Which tokens begin inside their clip, [W, 1, 1, N] bool; None where all of them do."""
        n_rows, n_columns = self.grid
        begin = self.tstride * torch.arange(n_columns, device=left.device)
        inside = begin < left[:, None]  # [W, columns]
        if inside.all():
            return None
        return nn.functional.pad(inside.repeat(1, n_rows), (2, 0), value=True)[:, None, None]


# ---- heads -------------------------------------------------------------------------------------


class _WithHead(nn.Module):
    """A backbone, and a head that makes answers of its vectors."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> answers [B, ...]."""
        return self.head(self.backbone(x, lengths))


class Classifier(_WithHead):
    """A backbone and a linear head: one score (logit) per class, [B, n_classes]."""

    def __init__(self, backbone: nn.Module, n_classes: int) -> None:
        super().__init__(backbone, nn.Linear(backbone.out_features, n_classes))


class MultitaskRegressor(_WithHead):
    """One backbone shared by several axes, and a linear head for all of them: [B, n_axes]."""

    def __init__(self, backbone: nn.Module, n_axes: int = 3) -> None:
        super().__init__(backbone, _head_at_the_middle(backbone.out_features, n_axes))


class Regressor(_WithHead):
    """A backbone and a linear head for one axis: [B], the shape of its targets.

    Not [B, 1]: against targets [B] that would be broadcast to B x B, silently.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone, _head_at_the_middle(backbone.out_features, 1))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> [B]."""
        return super().forward(x, lengths).squeeze(-1)


def _head_at_the_middle(n_features: int, n_axes: int) -> nn.Linear:
    """A linear head that begins by answering about 0.5, the middle of an axis, for every clip.

    Random first weights over a thousand features answer far outside of 0..1, and the first epochs
    would be spent on coming back.
    """
    head = nn.Linear(n_features, n_axes)
    nn.init.normal_(head.weight, std=1e-3)  # not 0, or the backbone would get no gradient
    nn.init.constant_(head.bias, 0.5)
    return head


def start_at(model: nn.Module, values: float | Sequence[float] | torch.Tensor) -> nn.Module:
    """Let a regressor begin by answering these values for every clip, one per axis; returns it.

    The training clips' means are the best answer that needs no clip: from there each epoch can only
    gain, and none is spent on moving the head's bias.
    """
    with torch.no_grad():
        model.head.bias.copy_(torch.as_tensor(values, dtype=torch.float32).reshape(-1))
    return model


class MultitaskLoss(nn.Module):
    """The weighted sum of the axes' mean squared errors (step 10β).

    `weights` bring the losses to one order of magnitude; without them the sum is plain.
    """

    def __init__(self, weights: Sequence[float] | None = None, n_axes: int = 3) -> None:
        super().__init__()
        values = torch.ones(n_axes) if weights is None else torch.as_tensor(weights).float()
        self.register_buffer("weights", values)

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Outputs and targets [B, n_axes] -> one number."""
        return (self.weights * self.per_axis(outputs, targets)).sum()

    def per_axis(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The unweighted loss of each axis, [n_axes]."""
        return ((outputs - targets) ** 2).mean(0)


# ---- building from a description ---------------------------------------------------------------

BACKBONES = {"lstm": LSTMBackbone, "cnn": CNNBackbone, "ast": ASTBackbone}
HEADS = {"classifier": Classifier, "regressor": Regressor, "multitask": MultitaskRegressor}


def build_model(spec: dict[str, Any]) -> nn.Module:
    """Make a model from a plain description, as it is stored with a checkpoint.

    `spec` has `backbone` (lstm, cnn or ast), `backbone_options`, `head` (classifier, regressor or
    multitask) and `head_options`. Raises LabError for names or options that do not exist.
    """
    try:
        backbone = BACKBONES[spec["backbone"]](**spec["backbone_options"])
        return HEADS[spec["head"]](backbone, **spec.get("head_options", {}))
    except (KeyError, TypeError) as error:
        raise LabError(f"no model can be built from {spec}: {error}") from error


def n_parameters(model: nn.Module) -> int:
    """The number of parameters of a model that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
