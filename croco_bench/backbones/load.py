"""`load_backbone`: from a checkpoint string to a network with its weights."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import timm
import torch

from croco_bench import registry
from croco_bench.backbones import own_code
from croco_bench.backbones.formats import Converted, RawCheckpoint, State, recognize
from croco_bench.backbones.formats.facts import Facts
from croco_bench.backbones.locate import CheckpointSource, locate, parse_source
from croco_bench.backbones.neighbors import facts_beside
from croco_bench.backbones.networks.architecture import (
    ARCHITECTURES,
    Architecture,
    CodeNetwork,
    TimmNetwork,
)
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.paired import TimmPair
from croco_bench.backbones.networks.position_tables import resample
from croco_bench.backbones.networks.timm_models import fit_state
from croco_bench.backbones.networks.timm_pyramid import TimmPyramid, timm_backbone
from croco_bench.backbones.networks.timm_vit import TimmViT
from croco_bench.backbones.networks.vit import ViT, grid_of
from croco_bench.backbones.timm_weights import weights_of_timm
from croco_bench.backbones.weights import fill, read_checkpoint, require_same
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import CheckpointError, FitError, UsageError, unknown
from croco_bench.seeding import derive
from croco_bench.types import Size

NO_FACTS = BackboneFacts()


def load_backbone(
    ckpt: str | Path | Backbone,
    *,
    image_size: int | Size | None = None,
    name: str | None = None,
    facts: BackboneFacts = NO_FACTS,
) -> Backbone:
    """A pre-trained backbone, in eval mode, on the CPU, in float32.

    Args:
        ckpt: a file of any format below, an index of several or a folder, a URL, `hf://OWNER/REPO[/FILE]`, `timm:NAME`,
            `timm:NAME@FILE` (a file's weights in a network of timm), `python:MODULE:NAME[@FILE]` (code of your own, which
            is imported), `random:ARCH[@SEED]`, `random:FILE[@SEED]` (random weights in the network of a file), a name of
            the zoo or of an installed backbone, or a `Backbone` that you made, which is checked and returned. Formats are
            recognised from content: CroCo v1 and v2, CroCo-Flow and -Stereo, DUSt3R and MASt3R, Reloc3r, MUSt3R, MAE
            (pre-trained, fine-tuned, probed), MultiMAE (own format and timm export), plain ViTs, DINO, DINOv2, DINOv3 and
            others with their names, CLIP, BEiT, EVA, SAM's encoder, in the names of several libraries, and fine-tuned
            files of this project.
        image_size: of the images to encode, an int or (H, W) in pixels; position tables are resampled once for it. Default:
            224, or the size that a given `Backbone` has.
        name: the model's name in results; default: from `ckpt`.
        facts: about a file, where it doesn't say them or says them wrong. All others that the tensors don't show are taken
            from the file or from the zoo, or are assumed and noted in `origin.notes`.

    Raises:
        CheckpointError: the file can't be read, lacks weights, or has weights that don't belong to the network.
        FitError: the image size isn't a multiple of the patch size.
        UsageError: no such name.
    """
    if not isinstance(ckpt, str | Path):
        return own_code.adopt(ckpt, None if image_size is None else _checked_size(image_size), name)
    size, source = _checked_size(224 if image_size is None else image_size), parse_source(ckpt)
    name = name or source.default_name
    _check_applicable(source, facts)
    if source.kind in ("python", "announced"):
        backbone: Backbone = _own(source, size, name, facts)
    elif source.kind == "random":
        with torch.random.fork_rng(devices=[]):  # the caller's generator keeps its state
            backbone = _random(source, size, name, facts)
    elif source.weights is not None:
        backbone = _timm_with_weights(source, source.weights, size, name, facts)
    elif source.kind == "timm":
        backbone = _from_timm(source, size, name, facts)
    else:
        backbone = _from_file(source, size, name, facts)
    return backbone.eval()


def _check_applicable(source: CheckpointSource, facts: BackboneFacts) -> None:
    """Refuses facts about files for networks that come from none."""
    if source.weights is not None:
        return
    if source.kind in ("random", "python", "announced") and facts != NO_FACTS:
        raise UsageError(f"{source.text} isn't a file, so settings of [backbone] don't apply to it", "leave them out")
    if source.kind == "timm" and facts != BackboneFacts(positions=facts.positions):
        raise UsageError(
            f"{source.text} isn't a file: of the settings of [backbone], only positions applies to it",
            "leave the others out",
        )


def _from_timm(source: CheckpointSource, size: Size, name: str, facts: BackboneFacts) -> Backbone:
    network = TimmNetwork(source.name, positions=facts.positions or "fixed")
    return timm_backbone(network, size, Origin(source.text, "timm"), name, pretrained=True)


def _checked_size(image_size: object) -> Size:
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    if isinstance(sides, tuple | list) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
        return sides[0], sides[1]
    raise FitError(f"image_size={image_size!r} should be a whole number of pixels or a pair (height, width)")


def _random(source: CheckpointSource, size: Size, name: str, facts: BackboneFacts) -> Backbone:
    origin = Origin(source.text, "random", notes=("random weights",))
    if source.weights is not None:
        return _random_like_file(source, source.weights, size, name, facts)
    torch.manual_seed(derive(source.seed, "backbone", source.name))
    if source.name in ARCHITECTURES:
        return _initialized(ARCHITECTURES[source.name], size, origin, name)
    if not timm.is_model(source.name):
        names = [*ARCHITECTURES, *timm.list_models("vit*")]
        near = difflib.get_close_matches(source.name, names, n=1, cutoff=0.5)
        raise unknown("architecture of this project or of timm", source.name, names if near else ARCHITECTURES)
    return timm_backbone(TimmNetwork(source.name), size, origin, name)


def _random_like_file(
    source: CheckpointSource, file: CheckpointSource, size: Size, name: str, facts: BackboneFacts
) -> Backbone:
    """The network of a file without its weights: what the network and its recipe do without pre-training."""
    converted, read = _read(file, facts)
    network = converted.network
    origin = Origin(
        source.text,
        "random",
        _drawn_hash(read, source.seed),
        notes=(f"random weights in the network of {file.text}", *converted.notes),
    )
    torch.manual_seed(derive(source.seed, "backbone", "file"))
    if isinstance(network, CodeNetwork):
        raise UsageError(
            f"{file.text} holds a network of other code ({network.code}), which alone knows its first weights",
            f"give {network.code} without a file",
        )
    if isinstance(network, Architecture):
        return _initialized(network, size, origin, name)
    return _timm(network, size, origin, name)


def _drawn_hash(file: Origin, seed: int) -> str:
    """Tells weights that are drawn for the network of a file from those of another network that had the file's name."""
    return hashlib.sha256(f"random weights {seed} in the network of {file.identity}".encode()).hexdigest()


def _initialized(plan: Architecture, size: Size, origin: Origin, name: str) -> ViT:
    network = _vit(plan, size, origin, name)
    network.initialize()
    return network


def _read(source: CheckpointSource, facts: BackboneFacts) -> tuple[Converted, Origin]:
    """What the format of a file makes of it, and where its weights come from."""
    path, license = locate(source)
    format, raw = recognize(read_checkpoint(path, facts.state))
    converted = format.read(raw, _facts_of(source, raw, facts))
    origin = Origin(
        source.text,
        format.name,
        raw.sha256,
        converted.license or license,
        converted.notes,
        converted.pretraining,
    )
    return converted, origin


def _from_file(source: CheckpointSource, size: Size, name: str, facts: BackboneFacts) -> Backbone:
    converted, origin = _read(source, facts)
    network = converted.network
    if isinstance(network, CodeNetwork):
        return _rebuilt(network, converted.state, size, origin, name)
    if isinstance(network, Architecture):
        return _filled(network, _resampled(network, converted.state, size, source.text), size, origin, name)
    made = _timm(network, size, origin, name)
    if network.image_size is None:
        fill(made.model, fit_state(made.model, converted.state, network.name), source.text)
    else:
        fill(made, converted.state, source.text)
    made.mark_filled()
    return made


def _own(source: CheckpointSource, size: Size, name: str, facts: BackboneFacts) -> Backbone:
    """A network of other code, with its own weights or those of a file."""
    backbone = own_code.build(source.text.partition("@")[0], size, name)
    if source.weights is None:
        return backbone
    path, license = locate(source.weights)
    raw = read_checkpoint(path, facts.state)
    state, notes = own_code.weights_in(raw)
    fill(backbone, state, source.text)
    backbone.origin = Origin(source.text, "python", raw.sha256, license, (*raw.notes, *notes))
    return backbone


def _rebuilt(network: CodeNetwork, state: State, size: Size, origin: Origin, name: str) -> Backbone:
    """The network of a fine-tuned file that an installed distribution builds.

    Raises:
        CheckpointError: the file names code that isn't installed as a backbone: it is never imported for that.
        FitError: the file is for another image size.
    """
    if network.code not in registry.backbones():
        raise own_code.needed(origin.source, network.code)
    if network.image_size != size:
        raise FitError(
            f"{origin.source} was fine-tuned at {network.image_size}", f"use image_size={network.image_size}"
        )
    backbone = own_code.build(network.code, size, name)
    fill(backbone, state, origin.source)
    backbone.origin = origin
    return backbone


def _facts_of(source: CheckpointSource, raw: RawCheckpoint, given: BackboneFacts) -> Facts:
    """The user's facts, and those of the zoo or of files next to the checkpoint."""
    if source.entry is None:
        return Facts(given, *facts_beside(Path(raw.source)))
    plan = ARCHITECTURES[source.entry.name]
    known = {key: getattr(plan, key) for key in ("heads", "mean", "std", "norm_eps", "activation", "positions")}
    return Facts(given, {**known, "decoder_heads": plan.decoder.heads} if plan.decoder else known)


def _resampled(plan: Architecture, state: State, size: Size, source: str) -> State:
    """The weights with position tables for `size`, resampled from the grid of the checkpoint."""
    grid, (height, width) = grid_of(size, plan.patch_size), plan.grid
    tables = {name: state[name] for name in ("positions", "dec_positions") if name in state}
    for name, table in tables.items():
        if table.ndim != 2 or len(table) != height * width:
            raise CheckpointError(
                f"{source} has {name} of shape {tuple(table.shape)}, which isn't a table of {height}x{width} patches",
                "get the file again",
            )
    return {**state, **{name: resample(table, plan.grid, grid, plan.resampling) for name, table in tables.items()}}


def _filled(plan: Architecture, state: State, size: Size, origin: Origin, name: str) -> ViT:
    """The network with its weights. Shapes are compared before memory is taken for what a file may only claim."""
    with torch.device("meta"):
        shapes = _vit(plan, size, origin, name)
    require_same(shapes, state, origin.source)
    network = shapes.to_empty(device="cpu")
    network.load_state_dict(state)
    return network


def _vit(plan: Architecture, size: Size, origin: Origin, name: str) -> ViT:
    return (CroCo if plan.decoder else ViT)(plan, size, origin, name)


def _timm(network: TimmNetwork, size: Size, origin: Origin, name: str) -> TimmViT | TimmPyramid:
    if network.image_size not in (None, size):
        raise FitError(
            f"{origin.source} was fine-tuned at {network.image_size}, which timm's networks keep",
            f"use image_size={network.image_size}",
        )
    return TimmPair(network, size, origin, name) if network.decoder else timm_backbone(network, size, origin, name)


def _timm_with_weights(
    source: CheckpointSource, weights: CheckpointSource, size: Size, name: str, facts: BackboneFacts
) -> Backbone:
    """A network that timm has by name, with the weights of a file."""
    path, license = locate(weights)
    raw = read_checkpoint(path, facts.state)
    chosen = _facts_of(weights, raw, facts)
    network = TimmNetwork(source.name, positions=chosen.pick("positions", known="fixed"))
    backbone = timm_backbone(network, size, Origin(source.text, "timm"), name)
    state, notes = weights_of_timm(backbone.model, source.name, raw)
    fill(backbone.model, state, source.text)
    backbone.mark_filled()
    if isinstance(backbone, TimmViT):
        chosen.check_patches(backbone.embed_dim, backbone.patch_size, source.text)
    backbone.mean, backbone.std = (chosen.pick(key, known=getattr(backbone, key)) for key in ("mean", "std"))
    notes = (*raw.notes, *notes, *chosen.notes(source.text))
    backbone.origin = Origin(source.text, "timm", raw.sha256, license, notes)
    return backbone
