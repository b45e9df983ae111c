"""Weights of transformers from files and from timm, with their names and shapes as ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from helpers.machinery.files import LabError, one_line

IMAGENET = "imagenet"  # in place of a file's name
_FILTERS, _POSITIONS, _A_TOKEN = "v.patch_embed.proj.weight", "v.pos_embed", "cls_token"


def load_ast_weights(model: nn.Module, source: str | Path, size: str) -> None:
    """Give an ASTBackbone of this size the weights of a file, or DeiT's ("imagenet").

    A file may hold an AST, as the course's or the authors' code stores one, also inside a whole
    classifier, or a DeiT: of its filters the three colours are added, and its grid of positions is
    cut or interpolated to ours, as in the course; its head stays fresh. Raises LabError, one line,
    for what cannot be read or had, and for weights that do not fit.
    """
    found = _renamed(_from_timm(size) if source == IMAGENET else _read(Path(source)), source)
    own = model.state_dict()
    is_image = found[_FILTERS].ndim == 4 and found[_FILTERS].shape[1] == 3  # red, green, blue
    if is_image:
        found |= {name: value for name, value in own.items() if name.startswith("mlp_head.")}
        found[_FILTERS] = found[_FILTERS].sum(1, keepdim=True)
    if _POSITIONS in found:
        found[_POSITIONS] = _on_our_grid(found[_POSITIONS], model.grid, is_image)
    # What a file holds besides an AST does not matter; blocks that we have not got do.
    found = {name: found[name] for name in found if name in own or name.startswith("v.blocks.")}
    try:
        model.load_state_dict(found)
    except RuntimeError as error:
        raise LabError(
            f"{source}: does not fit an AST of {size} ({one_line(error)}); give the model_size, "
            "feature_size and strides that the weights were trained with"
        ) from error


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors` file, or of a `.pth` one, which may hold nothing else."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LabError(f"{path}: no such file of weights") from None
    except (SafetensorError, OSError) as error:
        raise LabError(f"{path}: cannot be read ({one_line(error)})") from error
    except Exception as error:  # an unpickler fails in any way
        raise LabError(
            f"{path}: no file of weights alone, and code in a file is never run; store the "
            "model's state_dict()"
        ) from error
    if isinstance(content, Mapping):  # DeiT's files wrap theirs
        content = content.get("model", content.get("state_dict", content))
    tensors = isinstance(content, Mapping) and all(map(torch.is_tensor, content.values()))
    if not tensors:
        raise LabError(f"{path}: holds no state dict of tensors; store the model's state_dict()")
    return dict(content)


def _from_timm(size: str) -> dict[str, torch.Tensor]:
    """DeiT's weights by the course's name of its size, downloaded by timm or from its cache."""
    kind, pixels = size[:-3], size[-3:]
    otherwise = "train from scratch, or name a file of weights"
    if not pixels.isdecimal():
        raise LabError(f"there are no ImageNet weights of model_size {size!r}; {otherwise}")
    try:
        import timm

        name = f"deit_{kind}_distilled_patch16_{pixels}"
        return timm.create_model(name, pretrained=True).state_dict()
    except ImportError:
        raise LabError(
            f"ImageNet weights come with timm, which is not here: pip install timm; {otherwise}"
        ) from None
    except Exception as error:  # of the network, the hub, or the cache
        raise LabError(
            f"timm could not get the ImageNet weights ({one_line(error)}); connect to the network "
            f"once, or {otherwise}"
        ) from error


def _renamed(state: Mapping[str, torch.Tensor], source: str | Path) -> dict[str, torch.Tensor]:
    """With names as in the course's ASTBackbone, whatever it is a part of; DeiT's get their `v.`"""
    name = next((name for name in state if name.endswith(_A_TOKEN)), "")
    # "v." in the course's, "module.v." in the authors', nothing in DeiT's.
    stem = name.removesuffix(_A_TOKEN)
    if not name or f"{stem}patch_embed.proj.weight" not in state:
        raise LabError(f"{source}: no AST or DeiT: it has no cls_token and patch_embed.proj.weight")
    before = stem.removesuffix("v.")
    new = "v." if stem == before else ""
    return {
        new + key.removeprefix(before): value
        for key, value in state.items()
        if key.startswith(before)
    }


def _on_our_grid(positions: torch.Tensor, grid: tuple[int, int], is_image: bool) -> torch.Tensor:
    """Positions [1, 2 + n, D] for a grid of patches (rows, columns): cut or interpolated.

    An image has as many rows as columns; the spectrograms of an AST have as many rows as ours.
    """
    n_patches = positions.shape[1] - 2
    n_rows = round(n_patches**0.5) if is_image else grid[0]
    if n_patches % n_rows:
        return positions  # of another number of bands: they will not fit
    picture = positions[:, 2:].transpose(1, 2).unflatten(2, (n_rows, -1))  # [1, D, rows, columns]
    for axis, size in ((3, grid[1]), (2, grid[0])):
        there = picture.shape[axis]
        if size <= there:  # from the middle
            picture = picture.narrow(axis, there // 2 - size // 2, size)
        else:
            shape = list(picture.shape[2:])
            shape[axis - 2] = size
            picture = nn.functional.interpolate(picture, size=shape, mode="bilinear")
    return torch.cat([positions[:, :2], picture.flatten(2).transpose(1, 2)], dim=1)
