"""Files beside a checkpoint that describe its network: `config.json` of transformers or timm, OpenCLIP's, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from croco_bench.backbones.networks.architecture import TimmNetwork
from croco_bench.backbones.networks.timm_models import make
from croco_bench.backbones.parts import DESCRIPTIONS
from croco_bench.files import parse_json

# Names of activations in transformers and in timm.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "quickgelu": "quick_gelu",
}
# What transformers leaves out of a file when it is the default of the class.
_VIT = {"hidden_size": 768, "patch_size": 16, "num_attention_heads": 12}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "clip_vision_model": {**_VIT, "patch_size": 32, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"},
    "siglip_vision_model": {**_VIT, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"},
}
_DEFAULTS["clip"], _DEFAULTS["siglip"] = _DEFAULTS["clip_vision_model"], _DEFAULTS["siglip_vision_model"]


def facts_beside(checkpoint: Path) -> tuple[dict[str, Any], str]:
    """Facts in the files next to a checkpoint (keys of `BackboneFacts`, and `width`), and the names of these files.

    A file that isn't readable JSON, or says something else, is passed over.
    """
    facts: dict[str, Any] = {}
    sources = []
    for name in DESCRIPTIONS:
        content = _read(checkpoint.parent / name)
        found = {key: value for key, value in _facts(content).items() if value is not None and key not in facts}
        if found:
            facts |= found
            sources.append(name)
    return facts, " and ".join(sources)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    if "image_mean" in content or "image_std" in content or "do_normalize" in content:
        return _of_preprocessor(content)
    if isinstance(content.get("model_cfg"), dict):
        return _of_openclip(content)
    if isinstance(content.get("architecture"), str):
        return _of_timm(content)
    return _of_transformers(content)


def _of_preprocessor(content: Mapping[str, Any]) -> dict[str, Any]:
    if content.get("do_normalize") is False:
        return {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return {"mean": _channels(content.get("image_mean")), "std": _channels(content.get("image_std"))}


def _of_transformers(content: Mapping[str, Any]) -> dict[str, Any]:
    vision = content.get("vision_config")
    own = vision if isinstance(vision, dict) else content
    described = {**_DEFAULTS.get(str(own.get("model_type", content.get("model_type"))), {}), **own}
    return {
        "width": _whole(described.get("hidden_size")),
        "patch_size": _whole(described.get("patch_size")),
        "heads": _whole(described.get("num_attention_heads")),
        "norm_eps": _positive(described.get("layer_norm_eps", described.get("layer_norm_epsilon"))),
        "activation": _ACTIVATIONS.get(str(described.get("hidden_act"))),
    }


def _of_openclip(content: Mapping[str, Any]) -> dict[str, Any]:
    model, preprocessing = content["model_cfg"], content.get("preprocess_cfg")
    vision = model.get("vision_cfg")
    facts: dict[str, Any] = {}
    if isinstance(vision, dict) and "timm_model_name" not in vision:
        width = _whole(vision.get("width"))
        facts = {
            "width": width,
            "patch_size": _whole(vision.get("patch_size")),
            "heads": width // (_whole(vision.get("head_width")) or 64) if width else None,
            "activation": "quick_gelu" if model.get("quick_gelu") is True else "gelu",
        }
    if isinstance(preprocessing, dict):
        facts |= {key: _channels(preprocessing.get(key)) for key in ("mean", "std")}
    return facts


def _of_timm(content: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics of timm's configuration, and what its network of that name has."""
    statistics = content.get("pretrained_cfg")
    statistics = statistics if isinstance(statistics, dict) else content
    facts: dict[str, Any] = {key: _channels(statistics.get(key)) for key in ("mean", "std")}
    facts["resampling"] = "antialiased"  # timm's rule
    name = content["architecture"]
    return {**_of_timm_network(name), **facts} if timm.is_model(name) else facts


def _of_timm_network(name: str) -> dict[str, Any]:
    with torch.device("meta"):
        model = make(TimmNetwork(name), (224, 224), pretrained=False)
    block, patch = getattr(model, "blocks", [None])[0], getattr(model.patch_embed, "patch_size", None)
    attention, norm = getattr(block, "attn", None), getattr(block, "norm1", None)
    return {
        "width": _whole(getattr(model, "embed_dim", None)),
        "patch_size": _whole(patch[0]) if isinstance(patch, tuple) else None,
        "heads": _whole(getattr(attention, "num_heads", None)),
        "norm_eps": _positive(getattr(norm, "eps", None)),
        "activation": _activation_of(getattr(getattr(block, "mlp", None), "act", None)),
    }


def _activation_of(layer: object) -> str | None:
    if isinstance(layer, nn.GELU):
        return "gelu_tanh" if layer.approximate == "tanh" else "gelu"
    return {"QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh", "GELU": "gelu"}.get(type(layer).__name__)


def _channels(value: object) -> tuple[float, float, float] | None:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(one, int | float) for one in value):
        return None
    red, green, blue = map(float, value)
    return red, green, blue


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _positive(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None
