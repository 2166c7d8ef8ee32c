"""Every dataset the benchmark knows: its layout on disk, its licence, where to get it, and how to check it. No torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from croco_bench.errors import DataError, UsageError, unknown

MARKER = "MINIATURE.json"


@dataclass(frozen=True)
class Finding:
    """One thing that a check looked at. `advice` says what to do when it isn't in order."""

    ok: bool
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Place:
    """A dataset. `name` is its folder under the data root.

    `checker` and `preparer` are "module:function", called with that folder: the former looks at what is there, the latter
    makes what a release leaves to its users, if there is such a thing, and says what it made. Where it needs a network,
    `preparer_ckpt` is the one to take unless another is given, and it is called with the folder, checkpoint and device.
    """

    name: str
    title: str
    layout: str
    size: str
    licence: str
    link: str
    checker: str
    preparer: str = ""
    preparer_ckpt: str = ""

    def check(self, root: Path) -> list[Finding]:
        """Looks at the files under `root` (this dataset's own folder)."""
        function: Callable[[Path], list[Finding]] = _load(self.checker)
        return function(root)

    def prepare(self, root: Path, ckpt: str | None = None, device: str = "auto") -> str:
        """Makes what is missing under `root`; returns what that was, in a few words.

        Raises:
            UsageError: this dataset needs no preparation, or no network for it.
        """
        if not self.preparer:
            able = ", ".join(sorted(one.name for one in _ALL if one.preparer))
            raise UsageError(
                f"{self.name} needs no preparation: it is read as it is published; what can be prepared: {able}"
            )
        if ckpt and not self.preparer_ckpt:
            raise UsageError(f"{self.name} is prepared without a network; leave --ckpt out")
        function: Callable[..., str] = _load(self.preparer)
        return function(root, ckpt or self.preparer_ckpt, device) if self.preparer_ckpt else function(root)


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


_ALL = (
    Place(
        name="nyuv2",
        title="NYU Depth v2, labelled part",
        layout="""
nyuv2/
  nyu_depth_v2_labeled.mat      MATLAB 7.3: images, depths, rawDepths, scenes, ...
  splits.mat                    trainNdxs (795), testNdxs (654)
or MultiMAE's folders
  {train,test}/rgb/data/0000.png, depth/data/0000.png (10/65536 m), mask_valid/data/0000.png
or BTS's
  nyu_train.txt, nyu_test.txt   lines "<rgb> <depth> <focal>", depth in 16-bit millimetres
""",
        size="2.8 GB",
        licence="free for research; ask the authors for anything else",
        link="http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat and "
        "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat",
        checker="croco_bench.data.nyuv2_check:check",
    ),
    Place(
        name="ade20k",
        title="ADE20K, scene parsing benchmark of 150 classes",
        layout="""
ade20k/
  ADEChallengeData2016/         or its content
    images/training/ADE_train_00000001.jpg, images/validation/ADE_val_00000001.jpg
    annotations/training/ADE_train_00000001.png, ...    8 bits: 0 unlabelled, 1 to 150 classes
""",
        size="20,210 + 2,000 photographs, 923 MB",
        licence="research and education, non-commercial; the annotations BSD-3",
        link="http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
        checker="croco_bench.data.ade20k_check:check",
    ),
    Place(
        name="taskonomy",
        title="Taskonomy, eight regression domains",
        layout="""
taskonomy/
  tiny_train.csv, tiny_val.csv, tiny_test.csv     building,point,view (MultiMAE's lists)
  or train_val_test_tiny.csv                      id,train,val,test: all views of the buildings
  rgb/<building>/point_0_view_0_domain_rgb.png    and so for normal, depth_zbuffer, principal_curvature, edge_texture,
                                                  edge_occlusion, keypoints2d, keypoints3d, reshading
  mask_valid/<building>/point_0_view_0_domain_depth_zbuffer.png
or as released, unpacked
  <building>/rgb/point_0_view_0_domain_rgb.png, <building>/normal/..., <building>/mask_valid/...
""",
        size="800 + 200 + 54,514 views of 512x512",
        licence="research only, under Stanford's terms",
        link="https://github.com/StanfordVL/taskonomy/tree/master/data",
        checker="croco_bench.data.taskonomy_check:check",
    ),
    Place(
        name="imagenet",
        title="ImageNet-1K (ILSVRC 2012)",
        layout="""
imagenet/
  train/<wnid>/*.JPEG, val/<wnid>/*.JPEG          or any folders of class folders
or the archives, read in place
  ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz (labels of val)
""",
        size="1,281,167 + 50,000 photographs, 145 GB",
        licence="research and education, non-commercial",
        link="https://image-net.org/challenges/LSVRC/2012/2012-downloads.php",
        checker="croco_bench.data.imagenet_check:check",
    ),
    Place(
        name="habitat_release",
        title="CroCo's pairs of rendered indoor views (HM3D, ScanNet, Replica in Habitat)",
        layout="""
habitat_release/
  pairs.txt                     one pair a line: two paths relative to this folder
  <dataset>/<split>/<scene>/00000000_1.jpeg, 00000000_2.jpeg, metadata.json
""",
        size="1.8 M pairs of 256x256",
        licence="that of the scanned scenes; generated by each user",
        link="https://github.com/naver/croco (datasets/habitat_sim)",
        checker="croco_bench.data.habitat:check",
        preparer="croco_bench.data.pairs:list_habitat",
    ),
    Place(
        name="7scenes",
        title="7-Scenes: posed RGB-D video of seven rooms",
        layout="""
7scenes/
  <scene>/TrainSplit.txt, TestSplit.txt     lines "sequence1"
  <scene>/seq-01/frame-000000.color.png, .depth.png (16-bit mm, 0 and 65535 unknown), .pose.txt (camera to world)
retrieval lists, for localisation: one of
  7scenes_densevlad_retrieval_top_10/<scene>_top10.txt             hloc's: lines "<query> <database image>"
  _db-q_pair_info/<scene>_q-retrieval_db-step=1_topk=10.npy        Reloc3r's
  retrieval-<model>/<scene>_top10.txt                              croco-bench data prepare 7scenes [--ckpt CKPT]
""",
        size="26,000 + 17,000 frames of 480x640, 22 GB",
        licence="Microsoft Research, non-commercial use only",
        link="https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/",
        checker="croco_bench.data.posed_check:check",
        preparer="croco_bench.descriptors:list_seven_scenes",
        preparer_ckpt="timm:vit_small_patch16_224.dino",
    ),
    Place(
        name="scannet1500",
        title="ScanNet's 1500 test pairs for relative pose",
        layout="""
scannet1500/
  test.npz                          name (1500, 4): scene, part, two frames
  scannet_test_1500/scene0707_00/
    color/0.jpg, pose/0.txt (camera to world), intrinsic/intrinsic_depth.txt
""",
        size="1500 pairs of 100 scenes, 1 GB",
        licence="research only, under ScanNet's terms",
        link="https://github.com/zju3dv/LoFTR (docs/TRAINING.md, assets/scannet_test_1500)",
        checker="croco_bench.data.scannet1500:check",
    ),
    Place(
        name="multimae",
        title="Images with depth and classes for MultiMAE's pre-training",
        layout="""
multimae/
  train/rgb/<class>/<name>.jpeg       colour
  train/depth/<class>/<name>.png      depth in 8 or 16 bits, any unit
  train/semseg/<class>/<name>.png     class ids in 8 bits
""",
        size="that of the images; ImageNet-1K in the paper",
        licence="that of the images",
        link="https://github.com/EPFL-VILAB/MultiMAE (SETUP.md); depth and classes are pseudo-labels that each user makes",
        checker="croco_bench.data.multimae:check",
    ),
)
PLACES: dict[str, Place] = {one.name: one for one in _ALL}


def place(name: str) -> Place:
    """The dataset called `name`."""
    if name not in PLACES:
        raise unknown("dataset", name, PLACES)
    return PLACES[name]


def is_miniature(root: Path) -> bool:
    """Whether the dataset folder `root` was written by the rooms generator."""
    return (root / MARKER).is_file()


def data_folder(data_root: Path | None, name: str) -> Path:
    """The folder of dataset `name` below `data_root`, or below `$CROCO_BENCH_DATA`.

    Raises:
        DataError: neither is given, or there is no such folder.
    """
    given = data_root or os.environ.get("CROCO_BENCH_DATA")
    if not given:
        raise DataError(
            f"where is the {name} dataset? give --data-root DIR (the folder that holds {name}/) or set CROCO_BENCH_DATA; "
            "croco-bench data make-mini DIR renders a miniature to try"
        )
    folder = Path(given) / name
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; croco-bench data list says what it should hold and where to get it"
        )
    return folder
