"""DUSt3R, MASt3R, Reloc3r and MUSt3R: decoder outputs equal numbers from the authors' own code."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from croco_bench.backbones import load_backbone
from croco_bench.backbones.export import write_official
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.save import save_finetuned
from croco_bench.errors import CheckpointError, FitError

Shapes = dict[str, tuple[int, ...]]
Waves = Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]
SIZE = (32, 48)

# First four channels of the second patch after each decoder block, and the norm of all outputs of that block, for
# `wave_weights` and `wave_images`: DUSt3R at 4c24a6e, Reloc3r at 62ad49e.
DUST3R = [
    ([0.15625, -0.05862, -0.66353, 0.68568], 7.36861),
    ([0.22492, 0.54785, 0.28934, 0.86932], 9.031),
    ([0.18463, 0.40198, 0.98239, 1.69536], 9.83142),
]
RELOC3R = [
    ([-3.81421, -3.19633, -1.91847, -2.35829], 30.11471),
    ([-3.896, -2.65882, -0.79409, -1.73298], 30.40169),
    ([-0.57429, -0.54893, 0.93469, 0.20982], 9.81798),
]
# The same after the encoder, by the kind of positions: MUSt3R at 0c0d76b.
MUST3R = {
    "RoPE100": ([-0.72983, 1.12966, -0.14871, -0.40625], 13.81725),
    "RoPE100_224:512": ([-0.65162, 1.04837, -0.06963, -0.47621], 13.79751),
}


def layer(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def block(name: str, width: int, *, cross: bool) -> Shapes:
    shapes = {**norm(f"{name}.norm1", width), **norm(f"{name}.norm2", width)}
    shapes |= {**layer(f"{name}.attn.qkv", 3 * width, width), **layer(f"{name}.attn.proj", width, width)}
    shapes |= {**layer(f"{name}.mlp.fc1", 4 * width, width), **layer(f"{name}.mlp.fc2", width, 4 * width)}
    if cross:
        shapes |= {**norm(f"{name}.norm3", width), **norm(f"{name}.norm_y", width)}
        for part in ("projq", "projk", "projv", "proj"):
            shapes |= layer(f"{name}.cross_attn.{part}", width, width)
    return shapes


def encoder(blocks: str = "enc_blocks", last: str = "enc_norm") -> Shapes:
    shapes: Shapes = {"patch_embed.proj.weight": (32, 3, 16, 16), "patch_embed.proj.bias": (32,), **norm(last, 32)}
    return shapes | block(f"{blocks}.0", 32, cross=False) | block(f"{blocks}.1", 32, cross=False)


def network(*decoders: str) -> Shapes:
    shapes = {**encoder(), **layer("decoder_embed", 16, 32), **norm("dec_norm", 16)}
    for decoder in decoders:
        for index in range(3):
            shapes |= block(f"{decoder}.{index}", 16, cross=True)
    return shapes


ARGUMENTS = (
    "AsymmetricCroCo3DStereo(pos_embed='RoPE100', img_size=(32, 48), patch_size=16, head_type='linear', "
    "depth_mode=('exp', -inf, inf), enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=16, dec_depth=3, "
    "dec_num_heads=2)"
)


def load(content: dict[str, Any], folder: Path) -> CroCo:
    torch.save(content, folder / "net.pth")
    backbone = load_backbone(folder / "net.pth", image_size=SIZE)
    assert isinstance(backbone, CroCo)
    return backbone


def dust3r(waves: Waves, folder: Path, *decoders: str) -> CroCo:
    state = waves(network(*(decoders or ("dec_blocks", "dec_blocks2"))))
    state["downstream_head1.proj.weight"] = torch.ones(2, 2)
    return load({"model": state, "args": argparse.Namespace(model=ARGUMENTS)}, folder)


def reloc3r(waves: Waves, folder: Path) -> CroCo:
    """Released without arguments; a user says the heads of networks of other widths."""
    state = {**waves(network("dec_blocks")), "pose_head.fc_t.weight": torch.ones(3, 2)}
    arguments = {"enc_num_heads": 2, "dec_num_heads": 2, "img_size": SIZE, "pos_embed": "RoPE100"}
    return load({"model": state, "croco_kwargs": arguments}, folder)


@torch.no_grad()
def check(outputs: list[Tensor], expected: list[tuple[list[float], float]]) -> None:
    for tokens, (channels, size) in zip(outputs, expected, strict=True):
        assert torch.allclose(tokens[0, 1, :4], torch.tensor(channels), atol=2e-5)
        assert float(tokens[:1].double().norm()) == pytest.approx(size, abs=1e-4)


@torch.no_grad()
def test_both_decoders_of_dust3r_evolve(waves: Waves, wave_pair: Tensor, tmp_path: Path) -> None:
    backbone = dust3r(waves, tmp_path)
    assert (backbone.origin.format, backbone.mean, backbone.origin.notes) == ("DUSt3R", (0.5, 0.5, 0.5), ())
    check(backbone.encode_pair(wave_pair[:1], wave_pair[1:])[2:], DUST3R)


@torch.no_grad()
def test_both_views_pass_reloc3r_s_decoder(waves: Waves, wave_pair: Tensor, tmp_path: Path) -> None:
    backbone = reloc3r(waves, tmp_path)
    assert (backbone.origin.format, backbone.mean, backbone.origin.notes) == ("Reloc3r", (0.5, 0.5, 0.5), ())
    check(backbone.encode_pair(wave_pair[:1], wave_pair[1:])[2:], RELOC3R)


@torch.no_grad()
@pytest.mark.parametrize("make", [dust3r, reloc3r])
def test_both_orders_at_once(
    make: Callable[[Waves, Path], CroCo], waves: Waves, wave_pair: Tensor, tmp_path: Path
) -> None:
    backbone = make(waves, tmp_path)
    one, two = wave_pair[:1], wave_pair[1:]
    orders = zip(backbone.encode_pair(one, two), backbone.encode_pair(two, one), strict=True)
    for both, (first, second) in zip(backbone.encode_both(one, two), orders, strict=True):
        assert torch.allclose(both, torch.cat([first, second]), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("make", [dust3r, reloc3r])
def test_fine_tuned_files_bring_both_decoders_back(
    make: Callable[[Waves, Path], CroCo], waves: Waves, wave_pair: Tensor, tmp_path: Path
) -> None:
    backbone = make(waves, tmp_path)
    save_finetuned(tmp_path / "weights.safetensors", backbone, nn.Linear(1, 1), {})
    again = load_backbone(tmp_path / "weights.safetensors", image_size=SIZE)
    assert isinstance(again, CroCo)
    assert torch.equal(
        backbone.encode_pair(wave_pair[:1], wave_pair[1:])[-1], again.encode_pair(wave_pair[:1], wave_pair[1:])[-1]
    )
    with pytest.raises(FitError, match="takes both views through its decoder"):
        write_official(backbone, tmp_path / "croco.pth")


def test_every_weight_of_both_decoders_gets_a_gradient(waves: Waves, wave_pair: Tensor, tmp_path: Path) -> None:
    backbone = dust3r(waves, tmp_path)
    total = backbone.encode_pair(wave_pair[:1], wave_pair[1:])[-1].sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert not [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert backbone.layer_of("dec_blocks2.1.norm1.weight") == backbone.layer_of("dec_blocks.1.norm1.weight")
    backbone.drop_decoder()
    assert not [name for name, _ in backbone.named_parameters() if name.startswith("dec")]


@torch.no_grad()
def test_one_decoder_serves_as_both_where_a_file_has_no_second(waves: Waves, wave_pair: Tensor, tmp_path: Path) -> None:
    backbone = dust3r(waves, tmp_path, "dec_blocks")
    assert backbone.origin.notes == ("the file has one decoder, which was taken for both views",)
    check(backbone.encode_pair(wave_pair[:1], wave_pair[1:])[2:], RELOC3R)


def test_a_second_decoder_with_missing_blocks_is_refused(waves: Waves, tmp_path: Path) -> None:
    state = {n: t for n, t in waves(network("dec_blocks", "dec_blocks2")).items() if not n.startswith("dec_blocks2.1.")}
    with pytest.raises(CheckpointError, match="dec_blocks2"):
        load({"model": state, "args": argparse.Namespace(model=ARGUMENTS)}, tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("positions", MUST3R)
def test_the_encoder_of_must3r(positions: str, waves: Waves, wave_pair: Tensor, tmp_path: Path) -> None:
    arguments = f"Dust3rEncoder(img_size=(32, 48), embed_dim=32, depth=2, num_heads=2, pos_embed='{positions}')"
    content = {
        "encoder": waves(encoder("blocks_enc", "norm_enc")),
        "decoder": {"feat.weight": torch.ones(2, 2)},
        "args": argparse.Namespace(encoder=arguments, decoder="MUSt3R()"),
    }
    torch.save(content, tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=SIZE)
    assert (backbone.origin.format, backbone.binocular, backbone.mean) == ("MUSt3R", False, (0.5, 0.5, 0.5))
    assert "decoder" in backbone.origin.notes[-1]
    check(backbone.encode(wave_pair)[-1:], [MUST3R[positions]])
