"""A first look at a checkpoint: every fact about it, one forward pass, a picture of its features."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image

from croco_bench.backbones import load_backbone
from croco_bench.backbones.provenance import training_data
from croco_bench.contracts import Backbone
from croco_bench.data.formats.images import decode_pillow
from croco_bench.data.rooms.camera import sample_camera
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import render
from croco_bench.errors import DataError
from croco_bench.files import atomic_output
from croco_bench.types import Array, Size

_ROOM = (240, 320)
_POSITIONS = {
    "absolute": "absolute: a part of each token",
    "rotary": "rotary: known to attention alone",
    None: "not known, or none",
}


def try_backbone(ckpt: str, image_size: Size, image: Path | None, out: Path | None) -> str:
    """Loads a checkpoint, encodes one image, writes a picture, and returns a report.

    Args:
        ckpt: what `load_backbone` takes.
        image_size: to load it for.
        image: a file to look at; None: a rendered room.
        out: the picture's file; None: `<name>-features.png` in the current folder.

    Raises:
        DataError: the image can't be read.
        BenchError: the checkpoint can't be loaded, or the picture can't be written.
    """
    backbone = load_backbone(ckpt, image_size=image_size)
    shown = rendered_room() if image is None else read_image(image)
    began = time.perf_counter()
    features = backbone.features(shown)
    seconds = time.perf_counter() - began
    path = out or Path(f"{backbone.name}-features.png")
    with atomic_output(path) as temporary:
        beside(shown, principal_colors(features.float().numpy())).save(temporary, format="PNG")
    lines = [*facts_of(backbone), ("one image", f"{seconds:.2f} s on the CPU, the first call"), ("picture", str(path))]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def facts_of(backbone: Backbone) -> list[tuple[str, str]]:
    """(name, value) of everything that is known of a backbone, with the source of what could be otherwise."""
    origin, spec = backbone.origin, backbone.feature_spec()
    saw = training_data(origin.source)
    blocks = [f"{spec.grid_of(i)[0]}x{spec.grid_of(i)[1]}x{width}" for i, width in enumerate(spec.widths)]
    facts = [
        ("name", backbone.name),
        ("family", backbone.family),
        ("weights", f"{origin.source} (format: {origin.format})"),
        ("SHA-256", origin.sha256 or "none: there is no file"),
        ("license", origin.license or "unknown: neither the file nor the list of models says it"),
        ("saw", "unknown data" if saw is None else ", ".join(saw) or "no data"),
        ("parameters", f"{sum(one.numel() for one in backbone.parameters()):,}"),
        ("image", f"{backbone.image_size[0]}x{backbone.image_size[1]} px, patches of {backbone.patch_size} px"),
        ("outputs", f"{len(blocks)} (h x w x channels): {', '.join(_shortened(blocks))}"),
        ("class token", "yes" if backbone.has_cls else "no"),
        ("positions", _POSITIONS[backbone.position_kind]),
        ("two views", "yes, a decoder" if backbone.binocular else "no"),
        (
            "last norm",
            {"checkpoint": "of the checkpoint", "identity": "none"}.get(backbone.final_norm, "initial values"),
        ),
        ("mean", _numbers(backbone.mean)),
        ("deviation", _numbers(backbone.std)),
        ("layers", f"{backbone.layers} with a learning rate each" if backbone.has_layers else "not told apart"),
    ]
    return [*facts, *(("noted", note) for note in origin.notes)]


def _shortened(blocks: list[str]) -> list[str]:
    """Equal neighbours as one."""
    if len(set(blocks)) == 1:
        return [f"all {blocks[0]}"]
    return blocks


def _numbers(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def rendered_room() -> Array:
    """(H, W, 3) uint8: the same room every time."""
    rng = np.random.default_rng(0)
    scene = make_scene(0)
    rgb: Array = render(scene, sample_camera(scene, _ROOM, rng)).rgb
    return rgb


def read_image(path: Path) -> Array:
    """(H, W, 3) uint8.

    Raises:
        DataError: there is no such file, or it is no image.
    """
    try:
        return np.array(decode_pillow(path.read_bytes()).convert("RGB"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} can't be read as an image ({reason})", "give a JPEG or a PNG") from error


def principal_colors(features: Array) -> Array:
    """Features (h, w, C) as colors (h, w, 3) uint8: three principal components, each from its 2nd to its 98th percentile."""
    height, width, channels = features.shape
    flat = features.reshape(-1, channels).astype(np.float64)
    centered = flat - flat.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    components = np.zeros((len(flat), 3))
    projected = centered @ axes[:3].T
    components[:, : projected.shape[1]] = projected
    low, high = np.percentile(components, (2, 98), axis=0)
    unit = np.clip((components - low) / np.maximum(high - low, 1e-12), 0, 1)
    colors: Array = (255 * unit).round().astype(np.uint8).reshape(height, width, 3)
    return colors


def beside(image: Array, colors: Array) -> Image.Image:
    """The image and the features, enlarged to its size without smoothing, side by side."""
    height, width = image.shape[:2]
    sheet = Image.new("RGB", (2 * width + 4, height), "white")
    sheet.paste(Image.fromarray(image), (0, 0))
    sheet.paste(Image.fromarray(colors).resize((width, height), Image.Resampling.NEAREST), (width + 4, 0))
    return sheet
