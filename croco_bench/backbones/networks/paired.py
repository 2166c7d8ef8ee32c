"""A decoder trained from scratch, for backbones that were pre-trained on single views."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import Decoder, TimmNetwork
from croco_bench.backbones.networks.blocks import initialize
from croco_bench.backbones.networks.croco import CroCo, CrossView
from croco_bench.backbones.networks.position_tables import sincos
from croco_bench.backbones.networks.timm_vit import TimmViT
from croco_bench.backbones.networks.vit import ViT, grid_of
from croco_bench.contracts import Backbone, Origin, PairBackbone
from croco_bench.errors import FitError
from croco_bench.types import Size


class TimmPair(TimmViT, CrossView):
    """A timm encoder and a cross-view decoder with fixed positions."""

    binocular = True

    def __init__(self, network: TimmNetwork, image_size: Size, origin: Origin, name: str) -> None:
        super().__init__(network, image_size, origin, name)
        assert network.decoder is not None
        self.add_decoder(network.decoder)
        self.register_buffer("dec_positions", sincos(network.decoder.width, grid_of(image_size, self.patch_size)))

    @property
    def layers(self) -> int:
        """Patch embedding, encoder blocks and decoder blocks."""
        return self.depth + 1 + (self.decoder_depth if self.binocular else 0)

    def layer_of(self, parameter: str) -> int:
        """See `Backbone.layer_of`."""
        layer = self.decoder_layer_of(parameter)
        return TimmViT.layer_of(self, parameter) if layer is None else layer

    def units(self) -> Sequence[nn.Module]:
        """The blocks of encoder and decoder."""
        return (*TimmViT.units(self), *self.decoder_units())

    def metadata(self) -> dict[str, str]:
        """See `Backbone.metadata`."""
        return {**super().metadata(), "decoder": json.dumps(vars(self.decoder))}


def without_decoder(backbone: Backbone) -> Backbone:
    """Takes the decoder off, in place, and notes that in the origin; a backbone without one is returned as it is."""
    if isinstance(backbone, PairBackbone) and backbone.binocular:
        backbone.drop_decoder()
        note = "the checkpoint's own decoder was left out"
        backbone.origin = replace(backbone.origin, notes=(*backbone.origin.notes, note))
    return backbone


def with_decoder(backbone: Backbone, decoder: Decoder) -> PairBackbone:
    """Adds a decoder with random weights, noted in the origin; a backbone with a decoder is returned as it is.

    Draws from torch's global generator.

    Raises:
        FitError: this kind of network can't take a decoder.
    """
    if isinstance(backbone, PairBackbone) and backbone.binocular:
        return backbone
    what = f"one of {decoder.depth} blocks, {decoder.width} wide, began with random weights"
    note = f"a new decoder: {what}" if isinstance(backbone, PairBackbone) else f"no decoder was pre-trained: {what}"
    origin = replace(backbone.origin, notes=(*backbone.origin.notes, note))
    if isinstance(backbone, TimmViT):
        network = replace(backbone.network, decoder=decoder)
        paired: CrossView = TimmPair(network, backbone.image_size, origin, backbone.name)
    elif isinstance(backbone, ViT):
        plan = replace(backbone.architecture, grid=backbone.grid, decoder=decoder)
        paired = CroCo(plan, backbone.image_size, origin, backbone.name)
    else:
        raise FitError(f"{backbone.name} can't be given a decoder", "this task needs a ViT or a network with its own")
    known = backbone.state_dict()
    missing = paired.load_state_dict(known, strict=False).missing_keys
    assert {name.partition(".")[0] for name in missing} <= {"decoder_embed", "dec_positions", "dec_blocks", "dec_norm"}
    for part in (paired.decoder_embed, paired.dec_blocks, paired.dec_norm):
        part.apply(initialize)
    _start_at_fixed_positions(paired, decoder, backbone)
    paired.final_norm = backbone.final_norm
    return paired.train(backbone.training)


def _start_at_fixed_positions(paired: CrossView, decoder: Decoder, backbone: Backbone) -> None:
    """A learned position table of the decoder starts as the fixed one."""
    table: Tensor | None = paired.dec_positions
    if isinstance(table, nn.Parameter):
        with torch.no_grad():
            table.copy_(sincos(decoder.width, grid_of(backbone.image_size, backbone.patch_size)))
