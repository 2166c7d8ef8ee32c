"""Every checkpoint format: recognised from content, read strictly, refused in one sentence when something is wrong."""

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from croco_bench.backbones import load_backbone
from croco_bench.backbones.export import CROCO_DEFAULTS, croco_arguments, write_official
from croco_bench.backbones.formats.croco import parse_call
from croco_bench.backbones.networks.architecture import ARCHITECTURES, Decoder
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.vit import ViT
from croco_bench.contracts import Backbone, Origin, PairBackbone
from croco_bench.errors import CheckpointError, FitError

State = dict[str, Tensor]


def tiny(name: str) -> ViT:
    """A network of this project's, shrunk until its file is written in no time; 32 pixels, 4x4 patches."""
    plan = replace(ARCHITECTURES[name], width=32, depth=2, heads=1, hidden=64, grid=(4, 4))
    if plan.decoder:
        plan = replace(plan, decoder=Decoder(width=64, depth=2, heads=2, hidden=64))
    backbone = (CroCo if plan.decoder else ViT)(plan, (32, 32), Origin("test", "test"), name)
    backbone.initialize()
    return backbone


def official(name: str, folder: Path) -> dict[str, Any]:
    """The content of an official file with random weights."""
    write_official(tiny(name), folder / "official.pth")
    content: dict[str, Any] = torch.load(folder / "official.pth", weights_only=True)
    return content


def load(content: object, folder: Path) -> Backbone:
    torch.save(content, folder / "given.bin")
    return load_backbone(folder / "given.bin", image_size=32)


def mae_encoder(folder: Path, name: str = "mini-mae") -> State:
    """timm's names only."""
    state: State = official(name, folder)["model"]
    return {name: t for name, t in state.items() if not name.startswith(("decoder", "mask"))}


def plain(folder: Path) -> State:
    """A ViT whose position table was learned."""
    state = mae_encoder(folder)
    return {**state, "pos_embed": state["pos_embed"] + 0.1}


def dust3r(folder: Path) -> dict[str, Any]:
    state = dict(official("mini-croco", folder)["model"])
    del state["prediction_head.weight"], state["prediction_head.bias"]
    state |= {n.replace("dec_blocks.", "dec_blocks2."): t for n, t in state.items() if n.startswith("dec_blocks.")}
    state["downstream_head1.dpt.head.0.weight"] = state["downstream_head2.proj.bias"] = torch.zeros(3)
    call = (
        "AsymmetricCroCo3DStereo(pos_embed='RoPE50', img_size=(32, 32), head_type='dpt', depth_mode=('exp', -inf, inf),"
        " enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=64, dec_depth=2, dec_num_heads=4)"
    )
    return {"args": argparse.Namespace(model=call, lr=np.float64(0.1), scale=np.float32(2)), "model": state}


def croco_flow(folder: Path) -> dict[str, Any]:
    content = official("mini-croco", folder)
    state = {n: t for n, t in content["model"].items() if not n.startswith(("mask_token", "prediction_head"))}
    state["head.dpt.act_1_postprocess.0.weight"] = state["head.dpt.act_postprocess.0.0.weight"] = torch.ones(2, 2)
    args = argparse.Namespace(task="flow", croco_args=content["croco_kwargs"])
    return {"model": state, "args": args}


def finetuned_mae(folder: Path) -> dict[str, Any]:
    state = {n.replace("norm.", "fc_norm.") if n.startswith("norm.") else n: t for n, t in plain(folder).items()}
    return {"model": state | {"head.weight": torch.zeros(10, 32), "head.bias": torch.zeros(10)}}


def probed_mae(folder: Path) -> dict[str, Any]:
    head = {"head.0.running_mean": torch.zeros(32), "head.0.num_batches_tracked": torch.tensor(3)}
    return {"model": plain(folder) | head | {"head.1.weight": torch.zeros(10, 32), "head.1.bias": torch.zeros(10)}}


def multimae_full(folder: Path) -> dict[str, Any]:
    state = official("mini-multimae", folder)["model"]
    state["input_adapters.depth.proj.weight"] = state["output_adapters.semseg.task_embeddings"] = torch.zeros(2)
    return {"model": state, "args": argparse.Namespace(lr=0.1), "epoch": 3}


def multimae_export(folder: Path) -> dict[str, Any]:
    return {"model": {n: t for n, t in mae_encoder(folder).items() if not n.startswith("norm.")}}


def dino(folder: Path) -> dict[str, Any]:
    def wrapped(prefix: str) -> State:
        inner = {f"{prefix}backbone.{n}": t for n, t in plain(folder).items()}
        return inner | {f"{prefix}head.mlp.0.weight": torch.zeros(2, 2)}

    return {"student": wrapped("module."), "teacher": wrapped(""), "epoch": 100}


def ddp(folder: Path) -> dict[str, Any]:
    content = official("mini-croco", folder)
    return {**content, "model": {f"module.{n}": t for n, t in content["model"].items()}, "optimizer": {"step": 3}}


CASES: list[tuple[str, str, str, Callable[[Path], object]]] = [
    ("CroCo v2", "croco", "checkpoint", lambda folder: official("mini-croco", folder)),
    ("CroCo v2", "croco", "checkpoint", ddp),
    ("CroCo fine-tuned", "croco", "checkpoint", croco_flow),
    ("DUSt3R", "croco", "checkpoint", dust3r),
    ("MAE pre-trained", "mae", "checkpoint", lambda folder: official("mini-mae", folder)),
    ("MAE encoder", "mae", "checkpoint", mae_encoder),
    ("MAE fine-tuned", "mae", "checkpoint", finetuned_mae),
    ("MAE linear probe", "mae", "checkpoint", probed_mae),
    ("MultiMAE", "multimae", "identity", multimae_full),
    ("MultiMAE export", "multimae", "identity", multimae_export),
    ("ViT", "vit", "checkpoint", plain),
    ("ViT", "vit", "checkpoint", dino),
]


@pytest.mark.parametrize(("name", "family", "norm", "make"), CASES)
def test_every_format_is_recognized(
    name: str, family: str, norm: str, make: Callable[[Path], object], tmp_path: Path
) -> None:
    backbone = load(make(tmp_path), tmp_path)
    assert (backbone.origin.format, backbone.family, backbone.final_norm) == (name, family, norm)
    assert backbone.origin.sha256 is not None
    assert isinstance(backbone, PairBackbone) == (family == "croco")
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in backbone.parameters())
    with torch.no_grad():
        assert torch.isfinite(backbone.encode(torch.randn(1, 3, 32, 32))[-1]).all()


@pytest.mark.parametrize("name", ["mini-croco", "mini-mae", "mini-multimae"])
def test_official_files_come_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    backbone = tiny(name)
    write_official(backbone, tmp_path / "official.pth")
    again = load_backbone(tmp_path / "official.pth", image_size=32)
    assert backbone.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in backbone.state_dict().items())


def test_the_arguments_of_a_file_win_over_shapes_and_rules(tmp_path: Path) -> None:
    backbone = load(dust3r(tmp_path), tmp_path)
    assert isinstance(backbone, ViT)
    plan = backbone.architecture
    assert plan.decoder is not None
    assert (plan.heads, plan.decoder.heads, plan.rope_base, plan.mean) == (2, 4, 50.0, (0.5, 0.5, 0.5))
    assert (plan.decoder.memory, backbone.origin.notes) == ("own", ())


def test_safetensors_with_arguments_in_the_metadata(tmp_path: Path) -> None:
    content = official("mini-croco", tmp_path)
    save_file(
        content["model"],
        tmp_path / "a.weights",
        metadata={"croco_kwargs": '{"enc_num_heads": 2, "pos_embed": "RoPE100"}'},
    )
    backbone = load_backbone(tmp_path / "a.weights", image_size=32)
    assert isinstance(backbone, ViT)
    assert backbone.architecture.heads == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    content = official("mini-croco", tmp_path)
    backbone = load({**content, "model": {n: t.to(dtype) for n, t in content["model"].items()}}, tmp_path)
    assert {t.dtype for t in backbone.state_dict().values()} == {torch.float32}


def test_the_first_release_has_no_arguments(tmp_path: Path) -> None:
    content = official("mini-croco", tmp_path)
    del content["croco_kwargs"]
    content["model"]["enc_pos_embed"], content["model"]["dec_pos_embed"] = torch.randn(16, 32), torch.randn(16, 64)
    backbone = load(content, tmp_path)
    assert isinstance(backbone, ViT)
    assert backbone.origin.format == "CroCo v1"
    assert backbone.architecture.positions == "fixed"
    with torch.device("meta"):
        first = CroCo(ARCHITECTURES["croco-v1"], (224, 224), Origin("test", "test"), "v1")
    assert croco_arguments(first) == CROCO_DEFAULTS


def weights_to_break() -> list[tuple[str, str]]:
    return [
        *(("mini-croco", n) for n in ("patch_embed.proj.weight", "enc_blocks.1.mlp.fc1.weight", "enc_norm.bias")),
        *(
            ("mini-croco", n)
            for n in ("decoder_embed.weight", "dec_blocks.0.mlp.fc1.weight", "dec_blocks.1.norm_y.bias")
        ),
        *(
            ("mini-croco", n)
            for n in ("enc_blocks.0.mlp.fc1.weight", "dec_blocks.1.cross_attn.projk.weight", "dec_norm.bias")
        ),
        *(("mini-mae", n) for n in ("cls_token", "pos_embed", "norm.weight", "blocks.0.attn.qkv.weight")),
        *(("mini-multimae", n) for n in ("global_tokens", "input_adapters.rgb.pos_emb", "encoder.0.mlp.fc1.weight")),
    ]


BREAKS: dict[str, Callable[[Tensor], object]] = {
    "missing": lambda t: None,
    "scalar": lambda t: torch.tensor(1.0),
    "flat": lambda t: torch.ones(7),
    "empty": lambda t: torch.ones(0),
    "integers": lambda t: t.to(torch.int64),
    "complex": lambda t: t.to(torch.complex64),
    "nan": lambda t: torch.full_like(t, torch.nan),
    "infinite": lambda t: torch.full_like(t, torch.inf),
    "sparse": lambda t: t.to_sparse(),
    "text": lambda t: "weights",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize(("name", "weight"), weights_to_break())
def test_a_broken_weight_is_refused_by_name(name: str, weight: str, broken: str, tmp_path: Path) -> None:
    content = official(name, tmp_path)
    state = {**content["model"], weight: BREAKS[broken](content["model"][weight])}
    if state[weight] is None:
        del state[weight]
    with pytest.raises(CheckpointError) as caught:
        load({**content, "model": state}, tmp_path)
    sentence = str(caught.value)
    layer = weight.rpartition(".")[0] or weight
    parts = [weight, layer, layer.replace("enc_", ""), "positions", "prefix", "dec_norm", "norm.", "position"]
    assert any(part in sentence for part in parts), sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("name", ["mini-croco", "mini-mae", "mini-multimae"])
def test_unknown_weights_are_refused_but_not_other_keys(name: str, tmp_path: Path) -> None:
    content = official(name, tmp_path)
    load({**content, "optimizer": {"lr": 1.0}, "anything": [1, 2]}, tmp_path)
    with pytest.raises(CheckpointError, match=r"unexpected weights extra\.0\.gamma"):
        load({**content, "model": {**content["model"], "extra.0.gamma": torch.zeros(1)}}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"enc_num_heads": 5}, "can't have 5 heads"),
        ({"enc_num_heads": 0}, "can't have 0 heads"),
        ({"enc_num_heads": 16}, "multiples of 4"),
        ({"enc_num_heads": "many"}, "can't have 'many' heads"),
        ({"dec_num_heads": 32}, "decoder of width 64"),
        ({"enc_depth": 5}, "enc_depth should be 5, but the weights have 2"),
        ({"dec_embed_dim": 97}, "dec_embed_dim should be 97"),
        ({"patch_size": 16}, "patch_size should be 16"),
        ({"pos_embed": "RoPE0"}, "pos_embed='RoPE0' isn't known"),
        ({"pos_embed": "RoPEx"}, "pos_embed='RoPEx' isn't known"),
        ({"pos_embed": "cosine"}, "lack enc_pos_embed|enc_pos_embed"),
        ({"img_size": "big"}, "img_size='big'"),
        ({"norm_im2_in_dec": False}, "norm_y"),
        ({"dec_block": "sum"}, "decoder blocks of kind 'sum'"),
    ],
)
def test_arguments_that_contradict_the_weights(arguments: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    content = official("mini-croco", tmp_path)
    with pytest.raises(CheckpointError, match=sentence):
        load({**content, "croco_kwargs": {**content["croco_kwargs"], **arguments}}, tmp_path)


def test_model_strings_are_parsed_not_run() -> None:
    found = parse_call("CroCoNet(enc_depth=24, pos_embed='RoPE100', mode=('exp', -inf))", "x")
    assert found == {"enc_depth": 24, "pos_embed": "RoPE100"}


@pytest.mark.parametrize(
    "text",
    ["CroCoNet(", "__import__('os').system('x')", "CroCoNet(**{'enc_depth': 1})", "f(enc_depth=g())", "(1)", "f(2)"],
)
def test_other_model_strings_are_refused(text: str, tmp_path: Path) -> None:
    content = official("mini-croco", tmp_path)
    with pytest.raises(CheckpointError, match=re.escape("isn't a call such as CroCoNet(enc_depth=12)")):
        load({"model": content["model"], "args": argparse.Namespace(model=text)}, tmp_path)


def test_a_vit_that_lost_its_norm_is_no_multimae_export(tmp_path: Path) -> None:
    state = {n: t for n, t in plain(tmp_path).items() if not n.startswith("norm.")}
    state["pos_embed"] = state["pos_embed"] + 1
    with pytest.raises(CheckpointError, match="final norm"):
        load({"model": state}, tmp_path)


def test_a_monocular_croco_file(tmp_path: Path) -> None:
    content = croco_flow(tmp_path)
    content["model"] = {n: t for n, t in content["model"].items() if not n.startswith("dec")}
    backbone = load(content, tmp_path)
    assert not backbone.binocular
    content["model"]["dec_norm.weight"] = torch.zeros(64)
    with pytest.raises(CheckpointError, match="decoder_embed"):
        load(content, tmp_path)


def test_networks_that_official_formats_have_no_place_for(tmp_path: Path) -> None:
    oblong = load_backbone("random:mini-mae", image_size=(64, 96))
    alone = tiny("mini-croco")
    alone.drop_decoder()
    other = load(dust3r(tmp_path), tmp_path)
    for backbone in (oblong, alone, other):
        assert isinstance(backbone, ViT)
        with pytest.raises(FitError):
            write_official(backbone, tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()


def test_oblong_cosine_files_keep_their_grid(tmp_path: Path) -> None:
    content = official("mini-croco", tmp_path)
    content["croco_kwargs"] |= {"pos_embed": "cosine", "img_size": (32, 48)}
    content["model"]["enc_pos_embed"], content["model"]["dec_pos_embed"] = torch.randn(24, 32), torch.randn(24, 64)
    torch.save(content, tmp_path / "oblong.pth")
    backbone = load_backbone(tmp_path / "oblong.pth", image_size=(32, 48))
    assert isinstance(backbone, ViT)
    assert backbone.positions is not None
    assert torch.equal(backbone.positions, content["model"]["enc_pos_embed"])
    assert backbone.architecture.grid == (4, 6)


def test_origin_of_a_random_network() -> None:
    assert load_backbone("random:mini-mae", image_size=64).origin == Origin(
        "random:mini-mae", "random", notes=("random weights",)
    )
