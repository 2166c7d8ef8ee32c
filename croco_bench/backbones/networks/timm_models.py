"""Makes networks of timm, and finds out by a trial pass whether they are plain ViTs."""

from __future__ import annotations

import difflib
import inspect
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed_nhwc
from timm.models import _hub
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import TimmNetwork
from croco_bench.backbones.networks.hub_errors import hub_errors
from croco_bench.errors import CheckpointError, FitError
from croco_bench.types import Size

# Arguments by which timm reads other files, or that depend on the use of a network; no description of one has them.
OF_OTHER_FILES = {
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
    "num_classes",
    "img_size",
}
# A multiple of all patch sizes in use: 8, 12, 14, 16, 28, 32.
_TRIAL_SIDE = 672


@dataclass(frozen=True)
class TokenLayout:
    """What a network's blocks put out.

    Attributes:
        step: pixels per patch token along each side.
        width: channels.
        depth: blocks.
        options: keyword arguments of timm's `forward_intermediates`.
    """

    step: int
    width: int
    depth: int
    options: dict[str, bool]


def make(network: TimmNetwork, image_size: Size | None, *, pretrained: bool) -> Any:
    """A network of timm without classifier, for an image size or, where it takes none, for any.

    Its type has no attributes that all networks share, hence Any.

    Raises:
        CheckpointError: timm doesn't know it, or can't load it.
        FitError: it takes no image size.
    """
    _check_known(network.name)
    arguments = {**network.arguments, **({} if image_size is None else {"img_size": image_size})}
    if (eps := arguments.pop("norm_eps", None)) is not None:
        arguments["norm_layer"] = partial(nn.LayerNorm, eps=eps)
    without_norm = arguments.pop("without_norm", False)
    try:
        # Warnings are of older names, which timm maps to the present ones.
        with warnings.catch_warnings(action="ignore"), hub_errors(f"timm:{network.name} can't be loaded"):
            model = _create(network.name, arguments, pretrained=pretrained)
    except TypeError as error:
        raise FitError(
            f"timm:{network.name} takes no image size, so it isn't a ViT", "give one such as vit_base_patch16_224"
        ) from error
    except (AssertionError, ArithmeticError, AttributeError, LookupError) as error:  # of odd arguments in a file
        raise CheckpointError(f"timm:{network.name} can't be made with {dict(network.arguments)}: {error}") from error
    if without_norm:
        model.norm = model.fc_norm = nn.Identity()
    return model


def resolved(network: TimmNetwork) -> TimmNetwork:
    """The network by a name of timm's own, with what the description in a repository or folder adds to that name.

    A network of the hub (`hf-hub:OWNER/REPO`) or of a folder (`local-dir:FOLDER`) is written down so: files that are saved
    lead to no other place. The description is read again from where `make` has just found it.
    """
    source, _, place = network.name.partition(":")
    if not place:
        return network
    read = _hub.load_model_config_from_hf if source.lower().startswith("hf") else _hub.load_model_config_from_path
    _, name, arguments = read(place)
    kept = {key: value for key, value in (arguments or {}).items() if key not in OF_OTHER_FILES}
    return replace(network, name=name, arguments={**kept, **network.arguments})


def _create(name: str, arguments: Mapping[str, Any], *, pretrained: bool) -> Any:
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except RuntimeError as error:
        if not pretrained or "size mismatch" not in str(error):
            raise
    # Weights of another image size, which timm's filter doesn't resample (SAM).
    released = timm.create_model(name, pretrained=True, num_classes=0)
    model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    model.load_state_dict(fit_state(model, released.state_dict(), name))
    return model


def _check_known(name: str) -> None:
    if ":" in name or timm.is_model(name):  # hf-hub:OWNER/REPO and local-dir:FOLDER are timm's business
        return
    near = difflib.get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()], n=3, cutoff=0.7)
    hint = f"timm has {', '.join(near)}" if near else "timm.list_models('vit*') names them all"
    raise CheckpointError(f"timm has no model {name!r}", hint)


def token_layout(network: TimmNetwork) -> TokenLayout:
    """The outputs of a network, from a pass without numbers: weights and images have shapes only.

    Raises:
        FitError: its blocks don't all give the same square grid of tokens, or the class token is kept apart from them.
        CheckpointError: see `make`.
    """
    patch = network.arguments.get("patch_size")
    side = 4 * patch if patch else _TRIAL_SIDE
    with torch.device("meta"), torch.no_grad():
        model = make(network, (side, side), pretrained=False).eval()
        options = _options(network, model)
        outputs = _trial(network, model, torch.zeros(1, 3, side, side), options)
    shapes = {tuple(tokens.shape[1:]) for tokens in outputs}
    width, height, breadth = next(iter(shapes))
    if len(shapes) > 1 or height != breadth or side % height:
        raise _no_plain_vit(network.name)
    return TokenLayout(side // height, width, len(outputs), options)


def _options(network: TimmNetwork, model: Any) -> dict[str, bool]:
    if not isinstance(getattr(model, "blocks", None), nn.ModuleList | nn.Sequential):
        raise _no_plain_vit(network.name)
    if "return_prefix_tokens" in inspect.signature(model.forward_intermediates).parameters:
        return {"return_prefix_tokens": model.num_prefix_tokens > 0}
    if getattr(model, "cls_token", None) is not None:
        raise FitError(
            f"timm:{network.name} keeps its class token apart from the patches, so it isn't a plain ViT",
            "give one such as timm:vit_base_patch16_224",
        )
    return {}


def _trial(network: TimmNetwork, model: Any, image: Tensor, options: dict[str, bool]) -> list[Tensor]:
    try:
        outputs: list[Any] = model.forward_intermediates(image, norm=False, intermediates_only=True, **options)
        return [output[0] if options.get("return_prefix_tokens") else output for output in outputs]
    except Exception as error:  # networks fail in many ways on images that aren't theirs
        raise _no_plain_vit(network.name) from error


def _no_plain_vit(name: str) -> FitError:
    return FitError(
        f"timm:{name} is neither a plain ViT with square patches nor a pyramid such as ResNet",
        "give one such as timm:vit_base_patch16_224",
    )


def fit_state(model: nn.Module, state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weights in the names of a release, renamed and resampled to the model's image size by timm's own filter.

    Args:
        model: of timm.
        state: its weights, with timm's names or with those of the authors that timm converts.
        name: timm's name of the model.

    Raises:
        CheckpointError: the filter doesn't know such names or shapes.
    """
    release = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if release is None:
        return state
    options: dict[str, Any] = {}
    if "flexi" in name or "radio" in name:  # as timm does by these names
        options = {"interpolation": "bilinear", "antialias": False}
    if "base_patch16_radio_v3" in name or "huge_patch16_radio_v3" in name:
        options["align_corners"] = True
    try:
        with warnings.catch_warnings(action="ignore"):
            fitted: dict[str, Tensor] = release(dict(state), model, **options)
        return _resampled_positions(fitted, model.state_dict())
    except Exception as error:  # filters take names and shapes for granted
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"the weights don't fit timm's {name}: {reason or type(error).__name__}") from error


def _resampled_positions(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """SAM's positions at the model's image size, as its forward pass resamples them; timm's filter leaves them."""
    resampled = dict(state)
    for name, table in state.items():
        if name not in own or table.shape == own[name].shape:
            continue
        if name.endswith((".rel_pos_h", ".rel_pos_w")) and table.ndim == 2:  # (offsets, channels)
            resampled[name] = F.interpolate(table.T[None], size=len(own[name]), mode="linear")[0].T
        elif name == "pos_embed" and table.ndim == 4:
            resampled[name] = resample_abs_pos_embed_nhwc(table, list(own[name].shape[1:3]))
    return resampled
