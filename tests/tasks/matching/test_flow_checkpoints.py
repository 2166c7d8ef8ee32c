"""Files of CroCo-Flow and CroCo-Stereo, written here in the official format around a small network."""

import argparse
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from croco_bench import load_backbone
from croco_bench.backbones.export import write_official
from croco_bench.backbones.networks.architecture import Architecture, Decoder
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.save import read_finetuned, save_finetuned
from croco_bench.config.recipe import load_recipe
from croco_bench.contracts import Origin, PairBackbone
from croco_bench.engine.network import Network
from croco_bench.errors import BenchError, CheckpointError
from croco_bench.heads.dpt import DPT, DPTOptions
from croco_bench.runs.request import RunRequest
from croco_bench.runs.runner import run
from croco_bench.runs.setup import set_up
from croco_bench.tiling import offsets, sigmoid_weight

CROP = (32, 48)
HEAD = DPTOptions(layer_widths=(16, 16, 16, 16), features=16)
# What a run must be told, so that it is the small file's.
FITTING = ("train.image_size=[32,48]", "head={name='dpt', layer_widths=[16,16,16,16], features=16}")


def network_of(channels: int) -> Network:
    torch.manual_seed(channels)
    backbone = load_backbone("random:mini-croco", image_size=CROP)
    assert isinstance(backbone, PairBackbone)
    head = DPT(backbone.pair_spec(), channels, HEAD)
    head.state_dict()["after.2.weight"].mul_(60)  # flows of several pixels, confidences that differ
    return Network(backbone, head, views=2).eval()


def official_head(head: DPT) -> dict[str, Tensor]:
    """The head's weights as CroCo's files name them, those of two names twice."""
    beginnings = {
        r"embed\.(\d)": "act_{}_postprocess.0",
        r"resize\.(\d)": "act_{}_postprocess.1",
        r"project\.(\d)": "scratch.layer{}_rn",
        r"fuse\.(\d)\.skip_unit": "scratch.refinenet{}.resConfUnit1",
        r"fuse\.(\d)\.unit": "scratch.refinenet{}.resConfUnit2",
        r"fuse\.(\d)\.project": "scratch.refinenet{}.out_conv",
        r"before()": "head.0",
        r"after\.0()": "head.2",
        r"after\.2()": "head.4",
    }
    state = {}
    for name, tensor in head.state_dict().items():
        (match, new), *_ = ((found, new) for old, new in beginnings.items() if (found := re.match(old, name)))
        level = int(match[1] or 0)
        one = name.replace(match[0], new.format(level + 1), 1)
        two = one.replace(f"act_{level + 1}_postprocess", f"act_postprocess.{level}")
        for alias in (one, two.replace(f"layer{level + 1}_rn", f"layer_rn.{level}")):
            state[f"head.dpt.{alias}"] = tensor.clone()
    return state


def write_file(network: Network, path: Path, **changes: Any) -> str:
    """What CroCo's fine-tuning saves: no mask token and no prediction head, but the arguments of the training."""
    assert isinstance(network.backbone, CroCo) and isinstance(network.head, DPT)
    write_official(network.backbone, path)
    content = torch.load(path, weights_only=True)
    state = {name: t for name, t in content["model"].items() if not name.startswith(("mask_token", "prediction_head"))}
    arguments = {
        **{"task": "flow", "criterion": "LaplacianLossBounded()", "crop": list(CROP), "optimizer": "AdamW(lr=args.lr)"},
        **{"tile_conf_mode": "conf_expsigmoid_10_5", "dataset": "40*MPISintel('subtrain_cleanpass')"},
        "croco_args": {**content["croco_kwargs"], "img_size": CROP},
    }
    args = argparse.Namespace(**{key: value for key, value in (arguments | changes).items() if value is not None})
    torch.save({"model": {**state, **official_head(network.head)}, "args": args, "epoch": 239}, path)
    return str(path)


def request_for(ckpt: str, data: Path, *changes: str, eval_only: bool = True) -> RunRequest:
    recipe = load_recipe("sintel-flow", "smoke", [*FITTING, *changes])
    return RunRequest("sintel-flow", ckpt, recipe, data, eval_only=eval_only)


@pytest.mark.slow
def test_the_network_is_the_files(tiny_data: Path, tmp_path: Path) -> None:
    network = network_of(3)
    ckpt = write_file(network, tmp_path / "crocoflow.pth")
    adopted = set_up(request_for(ckpt, tiny_data), 1)
    assert adopted.model.origin.format == "CroCo fine-tuned"
    draw = torch.Generator().manual_seed(0)
    one, two = torch.rand(2, 2, 3, *CROP, generator=draw)
    with torch.inference_mode():
        assert torch.equal(adopted.network.eval()(one, two), network(one, two))


def by_hand(network: Network, image1: Tensor, image2: Tensor) -> Tensor:
    """Window after window, weighted sums in float64."""
    height, width = image1.shape[-2:]
    above, below = torch.zeros(2, height, width, dtype=torch.float64), torch.zeros(height, width, dtype=torch.float64)
    for top in offsets(height, CROP[0], 0.9):
        for left in offsets(width, CROP[1], 0.9):
            tile = (..., slice(top, top + CROP[0]), slice(left, left + CROP[1]))
            *flow, confidence = network(image1[None][tile], image2[None][tile])[0].double()
            weight = sigmoid_weight(confidence, 10, 5)
            above[tile] += weight * torch.stack(flow)
            below[tile] += weight
    return above / below


@pytest.mark.slow
def test_scores_are_those_of_the_files_network_in_weighted_windows(tiny_data: Path, tmp_path: Path) -> None:
    network = network_of(3)
    ckpt = write_file(network, tmp_path / "crocoflow.pth")
    changes, results = [*FITTING, "task.overlap=0.9"], tmp_path / "results"
    options: dict[str, Any] = {
        "recipe": "smoke",
        "data_root": tiny_data,
        "results": results,
        "device": "cpu",
        "limit": 1,
    }
    result = run("sintel-flow", ckpt, changes=changes, eval_only=True, **options)
    assert result is not None
    request = replace(request_for(ckpt, tiny_data, "task.overlap=0.9"), limit=1)
    assembly = set_up(request, 1)
    rows = np.load(next((tmp_path / "results").rglob("seed0.npz")))
    sample = assembly.data.test[0]
    images = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in sample["passes"]["final"]]
    with torch.inference_mode():
        flow = by_hand(network, *images).permute(1, 2, 0).numpy()
    assert np.abs(flow).max() > 3
    error = np.linalg.norm(flow - sample["flow_px"], axis=2).mean()
    assert rows["final/epe"] == pytest.approx([error], abs=1e-5)
    assert result.metrics["final/epe"].value == pytest.approx(float(rows["final/epe"][0]))
    assert result.settings["resolved"]["task"] == {"window": [32, 48], "overlap": 0.9, "windows": {"40x56": [4, 3]}}
    assert any("40*MPISintel" in text and "report=subval" in text for text in result.protocol.deviations)
    assert result.selected is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "stereo", "criterion": "LaplacianLossBounded2()"}, "is CroCo-Stereo's: it predicts disparities"),
        ({"task": None}, r"doesn't say that it is CroCo-Flow's \(args\.task\)"),
        ({"crop": [320, 384]}, r"add --set train\.image_size=\[320,384\]$"),
        (
            {"crop": (64, 48), "criterion": "L1Loss()", "tile_conf_mode": "conf_expsigmoid_15_3"},
            r"add --set train\.image_size=\[64,48\] --set task\.loss=l1 --set task\.beta=15 --set task\.gamma=3$",
        ),
        ({"crop": 320}, r"args\.crop should be a pair of sides, but is 320"),
        (
            {"criterion": "HuberLoss()"},
            r"args\.criterion 'HuberLoss\(\)' isn't known; expected one of LaplacianLossBounded",
        ),
        ({"tile_conf_mode": "conf_expbeta3"}, r"args\.tile_conf_mode 'conf_expbeta3' isn't known"),
    ],
)
def test_files_for_something_else_are_one_sentence(
    changes: dict[str, Any], words: str, tiny_data: Path, tmp_path: Path
) -> None:
    ckpt = write_file(network_of(3), tmp_path / "file.pth", **changes)
    with pytest.raises(CheckpointError, match=words) as caught:
        set_up(request_for(ckpt, tiny_data), 1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_file_without_a_confidence_needs_the_loss_without_one(tiny_data: Path, tmp_path: Path) -> None:
    network = network_of(2)
    ckpt = write_file(network, tmp_path / "l1.pth", criterion="L1Loss()")
    with pytest.raises(CheckpointError, match=r"add --set task\.loss=l1$"):
        set_up(request_for(ckpt, tiny_data), 1)
    adopted = set_up(request_for(ckpt, tiny_data, "task.loss=l1"), 1)
    assert torch.equal(adopted.network.head.state_dict()["after.2.weight"], network.head.state_dict()["after.2.weight"])


def test_damaged_heads_are_one_sentence(tiny_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    write_file(network_of(3), path)
    content = torch.load(path, weights_only=False)
    del content["model"]["head.dpt.scratch.refinenet2.out_conv.bias"]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"nothing corresponds to fuse\.1\.project\.bias"):
        set_up(request_for(str(path), tiny_data), 1)


@pytest.mark.slow
def test_tasks_and_heads_that_know_no_such_file_refuse_it(tiny_data: Path, tmp_path: Path) -> None:
    ckpt = write_file(network_of(3), tmp_path / "file.pth")
    recipe = load_recipe("nyuv2-depth", "smoke")
    with pytest.raises(CheckpointError, match="was fine-tuned by its authors, for another task"):
        set_up(RunRequest("nyuv2-depth", ckpt, recipe, tiny_data, eval_only=True), 1)
    with pytest.raises(BenchError, match="head"):
        set_up(request_for(ckpt, tiny_data, "head=convnext"), 1)


def test_fine_tuning_begins_with_the_files_backbone(tiny_data: Path, tmp_path: Path) -> None:
    network = network_of(3)
    ckpt = write_file(network, tmp_path / "file.pth", crop=[320, 384])
    assembly = set_up(request_for(ckpt, tiny_data, eval_only=False), 1)
    (ours, theirs) = (one.state_dict() for one in (assembly.network, network))
    assert torch.equal(ours["backbone.patch_embed.weight"], theirs["backbone.patch_embed.weight"])
    assert not torch.equal(ours["head.before.weight"], theirs["head.before.weight"])


def test_only_the_scored_data_need_be_there(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sintel").symlink_to(tiny_data / "sintel")
    ckpt = write_file(network_of(3), tmp_path / "file.pth")
    wanted = "task.train_on={sintel = 40, flyingthings = 4, tartanair = 1}"
    assembly = set_up(request_for(ckpt, tmp_path / "data", wanted), 1)
    assert assembly.data.training is None and not assembly.request.learns
    with pytest.raises(BenchError, match=r"leave it out with --set 'task\.train_on=\{sintel = 40, tartanair = 1\}'"):
        set_up(request_for("random:mini-croco", tmp_path / "data", wanted, eval_only=False), 1)


def test_arguments_that_are_no_plain_values_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    write_file(network_of(3), path, lr=2e-5, nested=[[1, 2], "x"], odd={"a": 1}, tensor=torch.ones(2), nothing=None)
    finetuned = read_finetuned(path)
    assert finetuned is not None
    known = {"task", "criterion", "crop", "optimizer", "tile_conf_mode", "dataset", "lr", "nested"}
    assert set(finetuned.metadata) == known and finetuned.metadata["crop"] == list(CROP)


def test_our_own_files_of_other_tasks_are_refused(tiny_data: Path, tmp_path: Path) -> None:
    network = network_of(3)
    save_finetuned(tmp_path / "weights.safetensors", network.backbone, network.head, {"task": "relative-pose"})
    with pytest.raises(CheckpointError, match="was fine-tuned on relative-pose, not on sintel-flow"):
        set_up(request_for(str(tmp_path / "weights.safetensors"), tiny_data), 1)


def stereo_file(path: Path, **changes: Any) -> str:
    """A small CroCo-Stereo whose numbers follow from their official names alone."""
    decoder = Decoder(32, 8, 2, 128)
    size = (32, 64)
    architecture = Architecture("croco", 32, 2, 2, 128, 16, (2, 4), 0, "rope", decoder=decoder)
    backbone = CroCo(architecture, size, Origin("here", "CroCo"), "small")
    network = Network(backbone, DPT(backbone.pair_spec(), 2, HEAD), views=2)
    arguments = {"task": "stereo", "criterion": "LaplacianLossBounded2()", "crop": list(size)}
    write_file(network, path, **{**arguments, "tile_conf_mode": "conf_expsigmoid_15_3", **changes})
    content = torch.load(path, weights_only=False)
    content["args"].croco_args["img_size"] = size
    for name, tensor in content["model"].items():
        one = re.sub(r"act_postprocess\.(\d)", lambda match: f"act_{int(match[1]) + 1}_postprocess", name)
        one = re.sub(r"layer_rn\.(\d)", lambda match: f"layer{int(match[1]) + 1}_rn", one)
        values = np.random.RandomState(zlib.crc32(one.encode())).standard_normal(tensor.shape)
        if tensor.dim() > 1:
            values *= (2 / tensor[0].numel()) ** 0.5
        elif "norm" in name and name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values *= 0.1
        tensor.copy_(torch.from_numpy(values * (0.01 if "head.4" in name else 1)))
    torch.save(content, path)
    return str(path)


def stereo_request(ckpt: str, data: Path, *changes: str) -> RunRequest:
    fitting = ("train.image_size=[32,64]", FITTING[1], "task.overlap=0.7", *changes)
    return RunRequest("stereo", ckpt, load_recipe("stereo", "smoke", fitting), data, eval_only=True)


SUBMITTED = ("conf_expsigmoid_15_3", "LaplacianLossBounded2()", ())
OF_ETH3D = (
    "conf_expbeta3",
    "LaplacianLoss()",
    ("task.loss=free", "task.weights=exponential", "task.beta=3"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "size", "figures"),
    [
        (SUBMITTED, (70, 150), [0.65487, 1.68423, -1.0112, 1.02268, 2.12152, 1.01550, 1.02042]),
        (SUBMITTED, (40, 50), [0.44279, 1.0028, 0.86061, 0.88254, 1.58711, 0.94047, 0.40820]),
        (OF_ETH3D, (70, 150), [0.65487, 1.69394, -1.24916, 0.99808, 2.17767, 1.01915, 1.08076]),
        (OF_ETH3D, (40, 50), [0.44279, 1.00311, 0.74521, 0.88254, 1.58197, 0.92711, 0.41905]),
    ],
)
def test_disparities_are_those_of_the_authors_code(
    file: tuple[str, str, tuple[str, ...]], size: tuple[int, int], figures: list[float], tiny_data: Path, tmp_path: Path
) -> None:
    """At five pixels, their mean and deviation, as CroCo's own code (stereoflow, windows that overlap by 0.7) found them.

    The smaller images are enlarged for it: the window doesn't fit in.
    """
    mode, criterion, changes = file
    ckpt = stereo_file(tmp_path / "crocostereo.pth", tile_conf_mode=mode, criterion=criterion)
    assembly = set_up(stereo_request(ckpt, tiny_data, *changes), 1)
    images = np.random.RandomState(7).uniform(size=(2, 1, 3, *size)).astype(np.float32)
    batch = dict(zip(("image1", "image2"), torch.from_numpy(images), strict=True))
    (evaluation,) = assembly.evaluations
    with torch.inference_mode():
        (found,) = evaluation.predict(assembly.network.eval(), batch)
    points = [(y % size[0], x % size[1]) for y, x in ((0, 0), (7, 50), (20, 30), (39, 55), (33, 3))]
    ours = [*(found[point] for point in points), found.mean(), found.std()]
    assert ours == pytest.approx(figures, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"task": "flow"},
            "is CroCo-Flow's: it predicts flow, not disparities along rows; give a file of CroCo-Stereo",
        ),
        ({"crop": [352, 704]}, r"add --set train\.image_size=\[352,704\]$"),
        (
            {"criterion": "LaplacianLoss()", "tile_conf_mode": "conf_expbeta3"},
            r"add --set task\.loss=free --set task\.weights=exponential --set task\.beta=3$",
        ),
        ({"tile_conf_mode": "conf_expsigmoid_10_5"}, r"add --set task\.beta=10 --set task\.gamma=5$"),
        ({"tile_conf_mode": "conf_linear"}, r"isn't known; expected conf_expsigmoid or conf_expbeta"),
    ],
)
def test_stereo_files_for_something_else_are_one_sentence(
    changes: dict[str, Any], words: str, tiny_data: Path, tmp_path: Path
) -> None:
    ckpt = stereo_file(tmp_path / "file.pth", **changes)
    with pytest.raises(CheckpointError, match=words) as caught:
        set_up(stereo_request(ckpt, tiny_data), 1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_results_of_the_authors_stereo_say_what_it_was_trained_on(tiny_data: Path, tmp_path: Path) -> None:
    ckpt = stereo_file(tmp_path / "file.pth", dataset="CREStereo('train')")
    (evaluation,) = set_up(stereo_request(ckpt, tiny_data), 1).evaluations
    assert any("CREStereo('train')" in text and "middlebury-subval" in text for text in evaluation.deviations)
