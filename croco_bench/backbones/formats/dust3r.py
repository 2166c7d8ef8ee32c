"""Files of networks that descend from CroCo: DUSt3R and MASt3R, Reloc3r, MUSt3R. All see images in [-1, 1]."""

from __future__ import annotations

from dataclasses import replace

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.croco import PRETRAINING, convert_croco, is_croco, network_arguments, parse_call
from croco_bench.backbones.formats.names import Names
from croco_bench.backbones.networks.architecture import HALF

# Heads of the released networks by width: encoders are ViT-L, decoders as wide as ViT-B.
_HEADS = {1024: 16, 768: 12}
# Constructor arguments of MUSt3R's encoder, by their names in CroCo.
_MUST3R_ARGUMENTS = {"embed_dim": "enc_embed_dim", "depth": "enc_depth", "num_heads": "enc_num_heads"}


def _convert_dust3r(names: Names) -> Converted:
    """Both decoders; where a file has only one, it is both, as in DUSt3R's own loader."""
    notes: tuple[str, ...] = ()
    if not names.has("dec_blocks2."):
        names.copy("dec_blocks.", "dec_blocks2.")
        notes = ("the file has one decoder, which was taken for both views",)
    kwargs = network_arguments(names.extras, names.source)
    converted = convert_croco(names, kwargs, HALF, heads=_HEADS, memory="own")
    return replace(converted, notes=(*converted.notes, *notes))


def _convert_reloc3r(names: Names) -> Converted:
    """One decoder that both views pass, each attending to the other."""
    kwargs = network_arguments(names.extras, names.source)
    return convert_croco(names, kwargs, HALF, heads=_HEADS, memory="shared")


def _convert_must3r(names: Names) -> Converted:
    """The encoder. The decoder, which keeps a memory of many views, has another structure than those here."""
    text = getattr(names.extras.get("args"), "encoder", None)
    given = parse_call(text, names.source) if isinstance(text, str) else {}
    kwargs = {_MUST3R_ARGUMENTS.get(key, key): value for key, value in given.items()}
    names.rename("blocks_enc.", "enc_blocks.")
    names.rename("norm_enc.", "enc_norm.")
    converted = convert_croco(names, kwargs, HALF, heads=_HEADS)
    note = "MUSt3R's decoder, which keeps a memory of many views, is left out"
    return replace(converted, notes=(*converted.notes, note))


def _is_dust3r(raw: RawCheckpoint) -> bool:
    return is_croco(raw) and raw.has("dec_blocks2.", "downstream_head")


def _is_reloc3r(raw: RawCheckpoint) -> bool:
    return is_croco(raw) and raw.has("pose_head.")


def _is_must3r(raw: RawCheckpoint) -> bool:
    return raw.has("blocks_enc.")


FORMATS = (
    Format("DUSt3R", _is_dust3r, _convert_dust3r, (*PRETRAINING, r"downstream_head\d\.")),
    Format("Reloc3r", _is_reloc3r, _convert_reloc3r, (*PRETRAINING, r"pose_head\.")),
    Format("MUSt3R", _is_must3r, _convert_must3r),
)
