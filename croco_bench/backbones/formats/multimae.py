"""Files of MultiMAE (Bachmann 2022): input adapters, global tokens, encoder; no final norm."""

from __future__ import annotations

from croco_bench.backbones.formats import Converted, Format
from croco_bench.backbones.formats.names import Names, encoder_heads, patch_shape
from croco_bench.backbones.networks.architecture import IMAGENET, Architecture

RGB = "input_adapters.rgb"
NO_NORM = "MultiMAE has no final norm: the last block's output is used as it is"


def _convert(names: Names) -> Converted:
    width, patch_size = patch_shape(names, f"{RGB}.proj")
    hidden, _ = names.shape("encoder.0.mlp.fc1.weight", "hidden, width")
    *_, height, breadth = names.shape(f"{RGB}.pos_emb", "1, width, h, w")
    _, tokens, _ = names.shape("global_tokens", "1, tokens, width")
    names.take_layer(f"{RGB}.proj", "patch_embed")
    names.out["positions"] = names.take(f"{RGB}.pos_emb", "positions").flatten(2)[0].T.contiguous()
    names.take("global_tokens", "prefix")
    architecture = Architecture(
        family="multimae",
        width=width,
        depth=names.take_blocks("encoder", "blocks"),
        heads=encoder_heads(names, width),
        hidden=hidden,
        patch_size=patch_size,
        grid=(height, breadth),
        prefix_tokens=tokens,
        positions="fixed",
        final_norm=False,
        mean=names.facts.pick("mean", known=IMAGENET[0]),
        std=names.facts.pick("std", known=IMAGENET[1]),
    )
    return Converted(architecture, names.out, (NO_NORM,))


FORMATS = (
    Format(
        "MultiMAE",
        lambda raw: f"{RGB}.proj.weight" in raw.state,
        _convert,
        ignored=(r"output_adapters\.", r"input_adapters\.(?!rgb\.)"),
    ),
)
