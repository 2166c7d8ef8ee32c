"""From a recipe to an objective: the backbone, its decoder and the loss."""

from __future__ import annotations

from typing import Any

import torch

from croco_bench import registry
from croco_bench.backbones.networks.architecture import Architecture, Decoder, heads_of
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.vit import ViT, grid_of
from croco_bench.config.load import options_of
from croco_bench.contracts import Origin
from croco_bench.errors import FitError, SizeError
from croco_bench.pretraining.completion import CrossViewCompletion
from croco_bench.pretraining.masked import MaskedAutoencoder
from croco_bench.pretraining.multimodal import MultimodalAutoencoder
from croco_bench.pretraining.objective import Objective
from croco_bench.pretraining.recipe import PretrainRecipe
from croco_bench.seeding import derive

_OBJECTIVES: dict[str, type[Objective]] = {
    "croco": CrossViewCompletion,
    "mae": MaskedAutoencoder,
    "multimae": MultimodalAutoencoder,
}


def options_for(recipe: PretrainRecipe) -> Any:
    """The objective's own options, checked.

    Raises:
        UsageError: unknown key, wrong type, value out of range.
    """
    table = recipe.objective if recipe.objective in _OBJECTIVES else "own"
    return options_of(_type_of(recipe.objective).Options, recipe.options, f"[{table}] of {recipe.name}")


def _type_of(objective: str) -> type[Objective]:
    return _OBJECTIVES[objective] if objective in _OBJECTIVES else registry.objectives()[objective].load()


def at_fitting_size(recipe: PretrainRecipe) -> PretrainRecipe:
    """The recipe, with `train.image_size=auto` at the nearest size that its patches fit."""
    if not recipe.train.nearest_size:
        return recipe
    size = recipe.train.image_size
    try:
        grid_of(size, recipe.model.patch_size)
    except SizeError as error:
        size = error.fitting()
    return recipe.model_copy(update={"train": recipe.train.at_size(size)})


def build(recipe: PretrainRecipe, seed: int) -> Objective:
    """An objective with random weights, which are a function of `seed`.

    Raises:
        UsageError: an option of the objective is wrong.
        FitError: sizes don't go together.
    """
    options, size = options_for(recipe), recipe.train.image_size
    try:
        architecture = architecture_of(recipe)
    except SizeError as error:
        raise error.for_setting() from error
    if recipe.family == "mae" and architecture.grid[0] != architecture.grid[1]:
        raise FitError(f"MAE's files hold square images only, but train.image_size is {size[0]}x{size[1]}")
    origin = Origin(f"pre-trained with {recipe.objective}, recipe {recipe.name}", "pre-training")
    torch.manual_seed(derive(seed, "pretraining", recipe.objective))
    backbone = (CroCo if recipe.family == "croco" else ViT)(architecture, size, origin, recipe.objective)
    backbone.initialize()
    if recipe.objective not in _OBJECTIVES:
        kind: Any = _type_of(recipe.objective)
        made: Objective = kind(backbone, _decoder(recipe), options)
        return made
    if isinstance(backbone, CroCo):
        return CrossViewCompletion(backbone, options)
    if recipe.objective == "multimae":
        return MultimodalAutoencoder(backbone, options)
    return MaskedAutoencoder(backbone, _decoder(recipe), options)


def architecture_of(recipe: PretrainRecipe) -> Architecture:
    """The encoder, and for CroCo its decoder."""
    model, croco = recipe.model, recipe.family == "croco"
    return Architecture(
        family=recipe.family,
        width=model.width,
        depth=model.depth,
        heads=_heads(model.heads or heads_of(model.width), model.width, model.positions == "rope" and croco),
        hidden=4 * model.width,
        patch_size=model.patch_size,
        grid=grid_of(recipe.train.image_size, model.patch_size),
        prefix_tokens=0 if croco else 1,
        positions="rope" if croco and model.positions == "rope" else "fixed",
        final_norm=recipe.family != "multimae",
        decoder=_decoder(recipe) if croco else None,
    )


def _decoder(recipe: PretrainRecipe) -> Decoder:
    model = recipe.model
    width = model.decoder_width
    rope = model.positions == "rope" and recipe.family == "croco"
    heads = _heads(model.decoder_heads or heads_of(width, decoder=True), width, rope)
    return Decoder(width, model.decoder_depth, heads, 4 * width, kind=recipe.decoder)


def _heads(heads: int, width: int, rope: bool) -> int:
    """`heads`, if a transformer of this width can have them."""
    unit = 4 if rope or heads == 1 else 1
    if width % heads or (width // heads) % unit or width % 4:
        rule = "a number that divides it, into multiples of 4 with rotary positions"
        raise FitError(f"a transformer of width {width} can't have {heads} heads", f"choose {rule}, and a width of 4·k")
    return heads
