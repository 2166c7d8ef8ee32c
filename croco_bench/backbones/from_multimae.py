"""Files of MultiMAE's own network (Bachmann 2022): input adapters, global tokens, encoder; no final norm."""

from __future__ import annotations

from croco_bench.backbones.architecture import Architecture, heads_of
from croco_bench.backbones.formats import Converted, Format, Names, RawCheckpoint, hidden_width, patch_shape
from croco_bench.errors import CheckpointError

_RGB = "input_adapters.rgb"


def _convert(raw: RawCheckpoint) -> Converted:
    width, patch_size = patch_shape(raw, f"{_RGB}.proj.weight")
    names = Names(raw)
    names.ignore("output_adapters.", *_other_adapters(raw))
    names.take_layer(f"{_RGB}.proj", "patch_embed")
    table = names.take(f"{_RGB}.pos_emb", "positions")
    if table.ndim != 4:
        raise CheckpointError(f"{raw.source}: {_RGB}.pos_emb should be (1, width, h, w), but has {table.ndim} axes")
    grid = (int(table.shape[2]), int(table.shape[3]))
    names.out["positions"] = table.flatten(2)[0].T.contiguous()
    tokens = int(names.take("global_tokens", "prefix").shape[1]) if "global_tokens" in raw.state else 0
    depth = names.take_blocks("encoder", "blocks")
    architecture = Architecture(
        family="multimae",
        width=width,
        depth=depth,
        heads=heads_of(width),
        hidden=hidden_width(raw, "encoder.0"),
        patch_size=patch_size,
        grid=grid,
        prefix_tokens=tokens,
        positions="fixed",
        final_norm=False,
    )
    note = "MultiMAE has no final norm: the last block's output is used as it is"
    return Converted(architecture, names.finish(), (note,))


def _other_adapters(raw: RawCheckpoint) -> set[str]:
    """`input_adapters.<domain>.` of every domain but RGB."""
    beginnings = {".".join(name.split(".")[:2]) + "." for name in raw.state if name.startswith("input_adapters.")}
    return beginnings - {f"{_RGB}."}


FORMATS = (Format("MultiMAE", lambda names: f"{_RGB}.proj.weight" in names, _convert),)
