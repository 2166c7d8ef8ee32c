"""Builds the network of a run: backbone, decoder and head, at an image size that fits them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import torch

from croco_bench.backbones import load_backbone
from croco_bench.backbones.networks.architecture import Decoder
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.paired import with_decoder, without_decoder
from croco_bench.config.load import options_of
from croco_bench.config.recipe import FreshDecoder, Recipe
from croco_bench.contracts import Backbone, Head, PairBackbone, Task, TaskData
from croco_bench.engine.network import Network, spec_for
from croco_bench.errors import FitError, SizeError, UsageError
from croco_bench.runs.request import RunRequest
from croco_bench.seeding import derive

# Patches and head may each ask for another size.
_SIZES_TRIED = 3
Built = TypeVar("Built")


def build_network(
    request: RunRequest, task: Task, data: TaskData, head_type: type[Head], head_options: Any
) -> tuple[RunRequest, Network]:
    """The backbone of the checkpoint, with a decoder where the task has two views, and a new head.

    With `train.image_size=auto`, at the nearest size that fits; the request that is returned names the size.

    Raises:
        FitError: they don't go together, or the image size doesn't fit; the advice then is the setting that does.
    """
    return at_fitting_size(
        request, lambda tried: _network(tried, task, data, head_type, head_options), head_type.grid_multiple
    )


def at_fitting_size(
    request: RunRequest, build: Callable[[RunRequest], Built], multiple: int = 1
) -> tuple[RunRequest, Built]:
    """What `build` makes of the request, or with `train.image_size=auto` of the request at the nearest size that fits.

    Raises:
        FitError: the size doesn't fit; the advice is the setting that does. Its sides are multiples of `multiple` patches.
    """
    size = request.recipe.train.image_size
    for _ in range(_SIZES_TRIED if request.recipe.train.nearest_size else 1):
        tried = request.at_size(size)
        try:
            built = build(tried)
        except SizeError as error:
            factor = multiple if error.of_patches else 1
            refused, size = error.for_setting(factor), error.fitting(factor)
        else:
            return tried, built
    raise refused


def _network(request: RunRequest, task: Task, data: TaskData, head_type: type[Head], head_options: Any) -> Network:
    recipe, backbone = request.recipe, backbone_of(request)
    assert isinstance(recipe, Recipe)
    if task.views == 2:
        backbone = _paired(backbone, recipe, request)
    elif recipe.train.frozen == "encoder":
        raise UsageError(
            f"train.frozen=encoder leaves a decoder to train, but {request.task} has one view", "take train.frozen=true"
        )
    torch.manual_seed(derive(request.seed, "head"))
    head = head_type(spec_for(backbone, task.views), task.out_channels(data), head_options)
    return Network(
        backbone,
        head,
        views=task.views,
        frozen=recipe.train.frozen,
        symmetric=task.symmetric,
        decode=task.decode,
    )


def backbone_of(request: RunRequest) -> Backbone:
    """The backbone of the checkpoint at the request's image size, with a decoder if it comes with one."""
    recipe = request.recipe
    facts = options_of(BackboneFacts, recipe.backbone, "[backbone]")
    # A copy of an object, because training changes it.
    given = request.ckpt if request.backbone is None else deepcopy(request.backbone)
    return load_backbone(given, image_size=recipe.train.image_size, name=request.name, facts=facts).cpu().float()


def _paired(backbone: Backbone, recipe: Recipe, request: RunRequest) -> PairBackbone:
    """The backbone with its own decoder, or a fresh one where it has none or the recipe replaces it.

    Raises:
        FitError: the recipe freezes the decoder, but the backbone has none.
    """
    fresh, frozen = recipe.decoder or FreshDecoder(), recipe.train.frozen
    if request.learns and fresh.replaces:
        backbone = without_decoder(backbone)
    if frozen is True and not backbone.binocular:
        raise FitError(
            f"{backbone.name} has no decoder, and one with random weights must not be frozen",
            "take --recipe frozen-encoder, or --set train.frozen=encoder, which trains a new decoder",
        )
    torch.manual_seed(derive(request.seed, "decoder"))
    return with_decoder(backbone, Decoder(fresh.width, fresh.depth, fresh.heads, 4 * fresh.width))
