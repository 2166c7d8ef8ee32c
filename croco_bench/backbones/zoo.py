"""The zoo: checkpoints with a name, released ones and the small ones in this package. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_NAVER = "https://download.europe.naverlabs.com/ComputerVision"
_CROCO = f"{_NAVER}/CroCo"
_DUST3R = f"{_NAVER}/DUSt3R/DUSt3R_ViTLarge_BaseDecoder"
_MAE = "https://dl.fbaipublicfiles.com/mae/pretrain"
_MULTIMAE = "https://github.com/EPFL-VILAB/MultiMAE/releases/download/pretrained-weights"
_CROCO_V1 = "Weinzaepfel et al., CroCo, NeurIPS 2022 (arXiv 2210.10716)"
_CROCO_V2 = "Weinzaepfel et al., CroCo v2, ICCV 2023 (arXiv 2211.10408)"
_MAE_PAPER = "He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022 (arXiv 2111.06377)"
_DUST3R_PAPER = "Wang et al., DUSt3R, CVPR 2024 (arXiv 2312.14132)"
_MAST3R_PAPER = "Leroy et al., MASt3R, ECCV 2024 (arXiv 2406.09756)"
_MULTIMAE_PAPER = "Bachmann et al., MultiMAE, ECCV 2022 (arXiv 2204.01678)"
_PACKAGED = "package:"  # the URL of a file in `assets/`, followed by its name


@dataclass(frozen=True)
class ZooEntry:
    """A checkpoint with a name. `sha256` is None if its authors publish no checksum and we could not compute one."""

    name: str
    family: str
    summary: str
    url: str
    license: str
    citation: str
    sha256: str | None = None

    @property
    def asset(self) -> Path | None:
        """The file in this package; None if it has to be downloaded."""
        name = self.url.removeprefix(_PACKAGED)
        return None if name == self.url else Path(__file__).parent / "assets" / name


def _mini(name: str, family: str, summary: str) -> ZooEntry:
    """A small backbone in this package; `assets/<name>.json` records its training."""
    return ZooEntry(
        name, family, summary, f"{_PACKAGED}{name}.safetensors", "Apache-2.0", "croco-bench pretrain --recipe mini"
    )


# Released checkpoints in the order of their papers, then those of this package.
ENTRIES = (
    ZooEntry(
        "croco-v1",
        "croco",
        "ViT-B + small decoder, cosine positions",
        f"{_CROCO}/CroCo.pth",
        "CC BY-NC-SA 4.0",
        _CROCO_V1,
    ),
    ZooEntry(
        "croco-v2-vitb-small",
        "croco",
        "ViT-B + small decoder, RoPE",
        f"{_CROCO}/CroCo_V2_ViTBase_SmallDecoder.pth",
        "CC BY-NC-SA 4.0",
        _CROCO_V2,
    ),
    ZooEntry(
        "croco-v2-vitb-base",
        "croco",
        "ViT-B + base decoder, RoPE",
        f"{_CROCO}/CroCo_V2_ViTBase_BaseDecoder.pth",
        "CC BY-NC-SA 4.0",
        _CROCO_V2,
    ),
    ZooEntry(
        "croco-v2-vitl-base",
        "croco",
        "ViT-L + base decoder, RoPE",
        f"{_CROCO}/CroCo_V2_ViTLarge_BaseDecoder.pth",
        "CC BY-NC-SA 4.0",
        _CROCO_V2,
    ),
    ZooEntry("mae-vitb", "mae", "ViT-B, ImageNet-1K", f"{_MAE}/mae_pretrain_vit_base.pth", "CC BY-NC 4.0", _MAE_PAPER),
    ZooEntry("mae-vitl", "mae", "ViT-L, ImageNet-1K", f"{_MAE}/mae_pretrain_vit_large.pth", "CC BY-NC 4.0", _MAE_PAPER),
    ZooEntry("mae-vith", "mae", "ViT-H, ImageNet-1K", f"{_MAE}/mae_pretrain_vit_huge.pth", "CC BY-NC 4.0", _MAE_PAPER),
    ZooEntry(
        "multimae-vitb",
        "multimae",
        "ViT-B, RGB + depth + semantics of ImageNet-1K",
        f"{_MULTIMAE}/multimae-b_98_rgb+-depth-semseg_1600e_multivit-afff3f8c.pth",
        "CC BY-NC 4.0",
        _MULTIMAE_PAPER,
    ),
    ZooEntry(
        "dust3r-224-linear",
        "croco",
        "ViT-L + base decoder, trained for point maps at 224",
        f"{_DUST3R}_224_linear.pth",
        "CC BY-NC-SA 4.0",
        _DUST3R_PAPER,
    ),
    ZooEntry(
        "dust3r-512-linear",
        "croco",
        "ViT-L + base decoder, trained for point maps at 512",
        f"{_DUST3R}_512_linear.pth",
        "CC BY-NC-SA 4.0",
        _DUST3R_PAPER,
    ),
    ZooEntry(
        "dust3r-512-dpt",
        "croco",
        "ViT-L + base decoder, trained for point maps at 512, DPT head",
        f"{_DUST3R}_512_dpt.pth",
        "CC BY-NC-SA 4.0",
        _DUST3R_PAPER,
    ),
    ZooEntry(
        "mast3r-512",
        "croco",
        "ViT-L + base decoder, trained for metric point maps and matches at 512",
        f"{_NAVER}/MASt3R/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric.pth",
        "CC BY-NC-SA 4.0, and the terms of its training sets",
        _MAST3R_PAPER,
    ),
    _mini("mini-croco", "croco", "ViT 128x4 + decoder 96x3 of cross blocks, 64x64, rendered rooms"),
    _mini("mini-croco-cat", "croco", "the same with a decoder of cat blocks"),
    _mini("mini-mae", "mae", "ViT 128x4, 64x64, rendered rooms, as long as mini-croco"),
    _mini(
        "mini-multimae", "multimae", "ViT 128x4, 64x64, rendered rooms with depth and classes, as long as mini-croco"
    ),
)


def find(name: str) -> ZooEntry | None:
    """The checkpoint called `name`, or None."""
    return next((entry for entry in ENTRIES if entry.name == name), None)


def packaged() -> list[str]:
    """Names of the small backbones in this package, which were pre-trained for about as long as each other."""
    return [entry.name for entry in ENTRIES if entry.asset]
