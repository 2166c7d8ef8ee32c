"""Files of this project: `.safetensors` whose metadata describe the network. `croco_bench.backbones.save` writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from croco_bench.backbones.formats import Converted, Format
from croco_bench.backbones.formats.names import Names, checked_heads
from croco_bench.backbones.networks.architecture import Architecture, CodeNetwork, Decoder, TimmNetwork, from_json
from croco_bench.backbones.networks.timm_models import OF_OTHER_FILES
from croco_bench.contracts import Pretraining
from croco_bench.errors import CheckpointError

# Values of `format` in the metadata.
OWN = "croco-bench fine-tuned"
PRETRAINED = "croco-bench pre-trained"
# Beginning of the names of weights that only pre-training needs.
EXTRA = "pretraining."


def _convert_finetuned(names: Names) -> Converted:
    described = names.extras
    try:
        before = described["origin"]
        source, license, notes = str(before["source"]), before["license"], tuple(map(str, before["notes"]))
        network = _network(names, described)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _damaged(names, "fine-tune again") from error
    names.take_below("backbone.")
    if isinstance(network, Architecture):
        network = _with_facts(names, network)
    trained = f"fine-tuned on {described.get('task', 'an unnamed task')} from {source}"
    return Converted(network, names.out, (trained, *notes), license)


def _network(names: Names, described: Mapping[str, Any]) -> Architecture | TimmNetwork | CodeNetwork:
    if "architecture" in described:
        return _architecture(names)
    if "code" in described:
        height, width = described["image_size"]
        return CodeNetwork(str(described["code"]), (int(height), int(width)))
    return _timm_network(names.source, described)


def _convert_pretrained(names: Names) -> Converted:
    network = _with_facts(names, _architecture(names))
    names.take_below("backbone.")
    return Converted(network, names.out, pretraining=_pretraining(names.extras))


def _pretraining(described: Mapping[str, Any]) -> Pretraining | None:
    """What the metadata say of the pre-training; None where they lack it."""
    try:
        facts = described["pretraining"]
        return Pretraining(str(facts["settings"]["objective"]), int(facts["images_seen"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _with_facts(names: Names, plan: Architecture) -> Architecture:
    """The network that the file describes, or what a user says otherwise."""
    if plan.decoder is not None:
        checked_heads(plan.decoder.heads, plan.decoder.width, names.source, "decoder")
    names.facts.check_patches(plan.width, plan.patch_size, names.source)
    picked = {
        key: names.facts.pick(key, stated=getattr(plan, key)) for key in ("mean", "std", "norm_eps", "activation")
    }
    heads = checked_heads(names.facts.pick("heads", stated=plan.heads), plan.width, names.source, "encoder")
    return replace(plan, heads=heads, **picked)


def _architecture(names: Names) -> Architecture:
    try:
        return Architecture.from_plain(names.extras["architecture"])
    except (KeyError, ValueError) as error:
        raise _damaged(names, "get the file again") from error


def _timm_network(source: str, described: Mapping[str, Any]) -> TimmNetwork:
    """The network of timm that a file names.

    Raises:
        CheckpointError: the name leads to another place: nothing is fetched because a file says so.
        ValueError, KeyError, TypeError: the description is damaged.
    """
    name = str(described["timm"])
    if ":" in name:
        raise CheckpointError(
            f"{source} names {name} as its network, which timm would read from there, and files lead to no other place",
            f"if you trust that place, give the network and its weights: timm:{name}@{source}",
        )
    height, width = described["image_size"]
    decoder = described.get("decoder")
    mean, std = described.get("timm_statistics", (None, None))
    arguments = dict(described.get("timm_arguments", {}))
    if strange := arguments.keys() & OF_OTHER_FILES:
        raise ValueError(f"{min(strange)} is no argument that this project writes")
    return TimmNetwork(
        name,
        arguments=arguments,
        image_size=(int(height), int(width)),
        decoder=from_json(Decoder, decoder) if decoder else None,
        mean=tuple(mean) if mean else None,
        std=tuple(std) if std else None,
    )


def _damaged(names: Names, advice: str) -> CheckpointError:
    return CheckpointError(f"{names.source}: the description of the network is damaged", advice)


# The head, and pooling layers of timm that earlier versions kept.
_UNUSED = (r"head\.", r"backbone\.model\.(attn_pool|neck)\.")

FORMATS = (
    Format(OWN, lambda raw: raw.extras.get("format") == OWN, _convert_finetuned, ignored=_UNUSED),
    Format(
        PRETRAINED, lambda raw: raw.extras.get("format") == PRETRAINED, _convert_pretrained, ignored=(re.escape(EXTRA),)
    ),
)
