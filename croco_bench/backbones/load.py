"""`load_backbone`: recognises the format, builds the network, fills it strictly."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import timm
import torch

from croco_bench.backbones.architecture import ARCHITECTURES, Architecture, Decoder, parse_random
from croco_bench.backbones.croco import CroCo
from croco_bench.backbones.formats import croco, multimae, vit
from croco_bench.backbones.formats.base import Converted, Format, RawCheckpoint
from croco_bench.backbones.locate import locate
from croco_bench.backbones.paired import TimmPair
from croco_bench.backbones.position_tables import resample
from croco_bench.backbones.timm_vit import TimmViT
from croco_bench.backbones.vit import ViT, grid_of
from croco_bench.backbones.weights import OWN, PRETRAINED, Finetuned, as_finetuned, fill, read_checkpoint
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import CheckpointError, FitError, UsageError, unknown
from croco_bench.seeding import derive
from croco_bench.types import Size

# The first that matches wins: special cases stand before the general.
FORMATS: tuple[Format, ...] = (*multimae.FORMATS, *croco.FORMATS, *vit.FORMATS)


def load_backbone(ckpt: str | Path, *, image_size: int | Size = 224, name: str | None = None) -> Backbone:
    """A pre-trained backbone, in eval mode, on the CPU, in float32.

    Args:
        ckpt: a file of any format below, a URL, `hf://repo/file`, `timm:NAME`, `random:ARCH[@SEED]`, or a name of the
            zoo. Formats are recognised from content: CroCo v1 and v2, CroCo-Flow and -Stereo, DUSt3R and MASt3R, MAE
            (pre-trained, fine-tuned, probed), MultiMAE (own format and timm export), plain and DINO ViTs, and
            fine-tuned files of this project.
        image_size: what the network will be given, an int or (H, W) in pixels; positions are resampled once for it.
        name: what to call it; default: from `ckpt`.

    Raises:
        CheckpointError: the file can't be read, or lacks weights, or has weights that don't belong.
        FitError: the image size isn't a multiple of the patch size.
        UsageError: no such name.
    """
    size, text = _checked_size(image_size), str(ckpt)
    if not text:
        raise UsageError(
            "the checkpoint's name is empty", "give a file, a URL, hf://repo/file, timm:NAME or random:ARCH"
        )
    called = name or default_name(text)
    if text.startswith("timm:"):
        architecture_name = text.removeprefix("timm:")
        backbone: Backbone = TimmViT(architecture_name, size, Origin(text, "timm"), called, pretrained=True)
    elif text.startswith("random:"):
        backbone = _random(text, size, called)
    else:
        backbone = _from_file(text, size, called)
    return backbone.eval()


def _checked_size(image_size: object) -> Size:
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    if isinstance(sides, tuple | list) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
        return sides[0], sides[1]
    raise FitError(f"image_size={image_size!r} should be a whole number of pixels or a pair (height, width)")


def default_name(ckpt: str) -> str:
    """A short name for a checkpoint, fit for a file name."""
    kind, colon, rest = ckpt.partition(":")
    if colon and kind in ("timm", "random"):
        return re.sub(r"[^\w.-]+", "-", rest if kind == "timm" else f"random-{rest}")
    stem = re.sub(r"\.(pth|pt|safetensors|bin|ckpt)(@.*)?$", "", ckpt.split("?")[0].rstrip("/").rpartition("/")[2])
    return re.sub(r"[^\w.-]+", "-", stem) or "unnamed"


def _random(text: str, size: Size, name: str) -> Backbone:
    what, seed = parse_random(text.removeprefix("random:"))
    origin = Origin(text, "random", notes=("random weights",))
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are none of our business
        torch.manual_seed(derive(seed, "backbone", what))
        if what in ARCHITECTURES:
            backbone = _build(ARCHITECTURES[what], size, origin, name)
            backbone.initialize()
            return backbone
        if what not in timm.list_models():
            names = [*ARCHITECTURES, *timm.list_models("vit*")]
            near = difflib.get_close_matches(what, names, n=1, cutoff=0.5)
            raise unknown("architecture of this project or of timm", what, names if near else ARCHITECTURES)
        return TimmViT(what, size, origin, name, pretrained=False)


def _build(plan: Architecture, size: Size, origin: Origin, name: str) -> ViT:
    return (CroCo if plan.decoder else ViT)(plan, size, origin, name)


def _from_file(ckpt: str, size: Size, name: str) -> Backbone:
    path, license = locate(ckpt)
    raw = read_checkpoint(path)
    finetuned = as_finetuned(raw)
    if finetuned and finetuned.format == OWN:
        return _from_finetuned(finetuned, raw, size, name)
    if raw.extras.get("format") == PRETRAINED:
        return _from_pretrained(raw, Origin(ckpt, PRETRAINED, raw.sha256, license), size, name)
    found = recognize(raw)
    converted = found.read(raw)
    origin = Origin(ckpt, found.name, raw.sha256, license, converted.notes)
    return from_converted(converted, size, origin, name)


def recognize(raw: RawCheckpoint) -> Format:
    """The format of a file, from the names of its tensors."""
    names = frozenset(raw.state)
    found = next((one for one in FORMATS if one.matches(names)), None)
    if found is None:
        some = ", ".join(sorted(names)[:3])
        known = ", ".join(one.name for one in FORMATS)
        raise CheckpointError(
            f"{raw.source} holds weights of no known network (such as {some})", f"known formats: {known}"
        )
    return found


def from_converted(converted: Converted, size: Size, origin: Origin, name: str) -> ViT:
    """Builds the network for an image size, its position tables resampled from the checkpoint's own grid."""
    plan, state = converted.architecture, dict(converted.state)
    target = grid_of(size, plan.patch_size)
    for table in ("positions", "dec_positions"):
        if table in state:
            state[table] = resample(state[table], plan.grid, target)
    with torch.device("meta"):
        shapes = _build(plan, size, origin, name)
    backbone = shapes.to_empty(device="cpu")
    fill(backbone, state, origin.source)
    return backbone


def _from_finetuned(finetuned: Finetuned, raw: RawCheckpoint, size: Size, name: str) -> Backbone:
    described = finetuned.metadata
    try:
        before = Origin(**described["origin"])
        trained_size = (int(described["image_size"][0]), int(described["image_size"][1]))
        plan = _described(raw) if "architecture" in described else None
        timm_name = None if plan else str(described["timm"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{raw.source}: the description of the network is damaged", "fine-tune again") from error
    notes = (f"fine-tuned on {described.get('task', 'an unnamed task')} from {before.source}", *before.notes)
    origin = Origin(raw.source, OWN, raw.sha256, before.license, notes)
    if plan:
        return from_converted(Converted(plan, finetuned.backbone), size, origin, name)
    if trained_size != size:
        raise FitError(
            f"{raw.source} was fine-tuned at {trained_size}, which timm's networks keep",
            f"use image_size={trained_size}",
        )
    backbone = _timm(str(timm_name), size, origin, name, described.get("decoder"))
    fill(backbone, finetuned.backbone, raw.source)
    return backbone


def _timm(timm_name: str, size: Size, origin: Origin, name: str, decoder: Any) -> TimmViT:
    if decoder is None:
        return TimmViT(timm_name, size, origin, name, pretrained=False)
    return TimmPair(timm_name, size, origin, name, decoder=Decoder(**decoder), pretrained=False)


def _from_pretrained(raw: RawCheckpoint, origin: Origin, size: Size, name: str) -> ViT:
    state = {key.removeprefix("backbone."): tensor for key, tensor in raw.state.items()}
    return from_converted(Converted(_described(raw), state), size, origin, name)


def _described(raw: RawCheckpoint) -> Architecture:
    try:
        return Architecture.from_plain(raw.extras["architecture"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{raw.source}: the description of the network is damaged", "get the file again"
        ) from error
