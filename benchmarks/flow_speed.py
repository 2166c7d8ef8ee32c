"""Time and memory of tiled optical flow, ViT-B with the small decoder, beside the authors' own code.

    python benchmarks/flow_speed.py --reference CHECKOUT_OF_NAVER_CROCO [--pairs 4] [--size 436 1024] [--tiles 1]

Both sides read one file of random weights, in the format of CroCo-Flow, and predict the same pairs of a video: frame 1 to 2,
2 to 3, and so on. Each has a process of its own, so that peak memory, reset once the weights are read, is its own too. The
largest difference of the two flows is printed as well. With --threads 1 on a CPU the time is processor time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.tiling import grid, sigmoid_weight, slide_pairs

Predict = Callable[[Tensor, Tensor], Tensor]
TILE, OVERLAP = (320, 384), 0.9
_MEAN, _STD = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def video(frames: int, size: tuple[int, int]) -> Tensor:
    """Smooth noise that drifts, (frames, 3, H, W) in [0, 1]."""
    torch.manual_seed(0)
    whole = F.interpolate(torch.rand(1, 3, 24, 48), (size[0] + 4 * frames, size[1] + 6 * frames), mode="bicubic")[0]
    parts = [whole[:, 4 * k : 4 * k + size[0], 6 * k : 6 * k + size[1]] for k in range(frames)]
    return torch.stack(parts).clamp(0, 1)


def _reference_network(checkout: str) -> torch.nn.Module:
    sys.path.insert(0, checkout)
    from models.croco_downstream import CroCoDownstreamBinocular  # type: ignore[import-not-found]
    from models.head_downstream import PixelwiseTaskWithDPT  # type: ignore[import-not-found]

    head = PixelwiseTaskWithDPT()
    head.num_channels = 3
    network: torch.nn.Module = CroCoDownstreamBinocular(head, img_size=TILE, pos_embed="RoPE100")
    return network


def write_weights(checkout: str, path: Path) -> None:
    """Random weights as a file of CroCo-Flow has them."""
    torch.manual_seed(0)
    network = _reference_network(checkout)
    kwargs = {"img_size": TILE, "pos_embed": "RoPE100"}
    settings = Namespace(
        task="flow",
        crop=list(TILE),
        criterion="LaplacianLossBounded()",
        tile_conf_mode="conf_expsigmoid_10_5",
        croco_args=kwargs,
    )
    torch.save({"model": network.state_dict(), "args": settings}, path)


def reference(checkout: str, path: Path, device: torch.device) -> Predict:
    """The authors' network and tiles, one pair after the other."""
    network = _reference_network(checkout)
    network.load_state_dict(torch.load(path, weights_only=False)["model"], strict=True)
    network.eval().to(device)
    from stereoflow.criterion import LaplacianLossBounded  # type: ignore[import-not-found]
    from stereoflow.engine import tiled_pred  # type: ignore[import-not-found]

    settings = {"overlap": OVERLAP, "crop": TILE, "conf_mode": "conf_expsigmoid_10_5", "with_conf": True}

    def predict(image1: Tensor, image2: Tensor) -> Tensor:
        views = [(image - _MEAN.to(device)) / _STD.to(device) for image in (image1, image2)]
        criterion = LaplacianLossBounded()
        return torch.cat(
            [tiled_pred(network, criterion, a[None], b[None], None, **settings)[0] for a, b in zip(*views, strict=True)]
        )

    return predict


def ours(path: Path, device: torch.device, tiles: int) -> Predict:
    """This project's network and tiles, all pairs at once, as in `croco-bench run sintel-flow --eval-only`."""
    from croco_bench import load_backbone
    from croco_bench.backbones.save import read_finetuned
    from croco_bench.engine.devices import keep_freed_memory
    from croco_bench.engine.network import Network, spec_for
    from croco_bench.heads.dpt import DPT, DPTOptions

    backbone, finetuned = load_backbone(str(path), image_size=TILE), read_finetuned(path)
    assert finetuned is not None
    head = DPT(spec_for(backbone, 2), 3, DPTOptions())
    head.load_released(finetuned.head)
    del finetuned
    keep_freed_memory(device)  # as `croco-bench run` does once the weights are there
    network = Network(backbone, head, views=2).eval().to(device)
    weight = partial(sigmoid_weight, beta=10, gamma=5)
    return lambda one, two: slide_pairs(network, one, two, TILE, OVERLAP, confidence_weight=weight, tiles_at_once=tiles)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux alone


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds a pair and peak memory; writes the flow to `--out`."""
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 and device.type == "cpu" else time.perf_counter
    if arguments.only == "ours":
        predict = ours(arguments.weights, device, arguments.tiles)
    else:
        predict = reference(arguments.reference, arguments.weights, device)
    with torch.inference_mode():
        small = video(2, TILE).to(device)
        predict(small[:1], small[1:])  # libraries set themselves up
        frames = video(arguments.pairs + 1, tuple(arguments.size)).to(device)
        _forget_peak(device)
        began = clock()
        flow = predict(frames[:-1], frames[1:]).cpu().numpy()
        seconds = clock() - began
    np.save(arguments.out, flow)
    return {"seconds": seconds / arguments.pairs, "memory_mb": _peak_mb(device)}


def _in_a_process(arguments: argparse.Namespace, side: str, weights: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", side, "--weights", str(weights), "--out", str(out)]
    for name in ("reference", "pairs", "tiles", "device", "threads"):
        command += [f"--{name}", str(getattr(arguments, name))]
    command += ["--size", *map(str, arguments.size)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def main() -> None:
    """Reads the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", required=True, help="folder of a checkout of naver/croco")
    parser.add_argument("--pairs", type=int, default=4, help="neighbouring pairs of the video")
    parser.add_argument("--size", type=int, nargs=2, default=[436, 1024], help="height and width; Sintel's by default")
    parser.add_argument("--tiles", type=int, default=1, help="tiles that go through our network at once")
    parser.add_argument("--rounds", type=int, default=1, help="turns of both")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    for hidden in ("only", "out"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments)))
        return
    rows, columns = grid(tuple(arguments.size), TILE, OVERLAP)
    print(f"{arguments.pairs} pairs of {arguments.size[0]}x{arguments.size[1]}, {rows}x{columns} tiles, ", end="")
    print(f"{arguments.device}, {arguments.threads} threads, float32")
    print("           s/pair  s/tile    peak MB")
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "crocoflow.pth"
        write_weights(arguments.reference, weights)
        for _ in range(arguments.rounds):
            for side in ("ours", "reference"):
                found = _in_a_process(arguments, side, weights, Path(folder) / f"{side}.npy")
                each = found["seconds"] / (rows * columns)
                print(f"{side:<10} {found['seconds']:6.1f}  {each:8.3f}  {found['memory_mb']:7.0f}", flush=True)
        flows = [np.load(Path(folder) / f"{side}.npy") for side in ("ours", "reference")]
    largest, usual = np.abs(flows[0] - flows[1]).max(), np.linalg.norm(flows[1], axis=1).mean()
    print(f"largest difference: {largest:.2g} px, where the mean flow is {usual:.2g} px")


if __name__ == "__main__":
    main()
