"""The benchmark's tasks: one module each, its recipes beside it, one line here. Imports no torch."""

if __name__ != "croco_bench.tasks":
    raise ImportError(
        "this folder is the package croco_bench.tasks: install the project (pip install -e .) and import that"
    )

from croco_bench.metrics.depth import DELTA1
from croco_bench.metrics.segmentation import MIOU
from croco_bench.registry import TaskCard

CATALOGUE = {
    "ade20k-seg": TaskCard(
        target="croco_bench.tasks.ade20k_seg:ADE20KSeg",
        summary="semantic segmentation of ADE20K, 150 classes, 2000 validation images",
        dataset="ade20k",
        headline=(MIOU,),
    ),
    "nyuv2-depth": TaskCard(
        target="croco_bench.tasks.nyuv2_depth:NYUv2Depth",
        summary="monocular depth on NYUv2, metres, 654 test images",
        dataset="nyuv2",
        headline=(DELTA1,),
        showcase=True,
    ),
}
