"""The benchmark's tasks. Imports no torch.

Each task is a module, or a folder of modules that exposes its `Task`; its recipes are in `recipes/<task>/`, its card is below.
`matching/` holds what optical flow and stereo share.
"""

if __name__ != "croco_bench.tasks":
    raise ImportError(
        "this folder is the package croco_bench.tasks: install the project (pip install -e .) and import that"
    )

from croco_bench.metrics.definitions import (
    AVGERR,
    BAD2,
    CLEAN_EPE,
    DELTA1,
    FINAL_EPE,
    L1,
    MIOU,
    NORMAL_MEAN,
    ROTATION_DEG,
    TOP1,
    TRANSLATION_M,
    WITHIN11,
)
from croco_bench.metrics.match_definitions import PCK_BOX, RECALL10, RECALL10_MOVED, RECALL_CM
from croco_bench.registry import TaskCard


def _taskonomy(name: str, summary: str) -> TaskCard:
    target = f"croco_bench.tasks.taskonomy:{name}"
    return TaskCard(target, f"Taskonomy: {summary}", dataset="taskonomy", headline=(L1,), group="taskonomy")


CATALOGUE = {
    "ade20k-seg": TaskCard(
        target="croco_bench.tasks.ade20k_seg:ADE20KSeg",
        summary="semantic segmentation of ADE20K, 150 classes, 2000 validation images",
        dataset="ade20k",
        headline=(MIOU,),
        reduction="croco_bench.metrics.segmentation:reduce_areas",
        pooled=True,
    ),
    "correspondence": TaskCard(
        target="croco_bench.tasks.correspondence:Correspondence",
        summary="matches of points read from features without training: 7-Scenes, pairs of test frames",
        dataset="7scenes",
        headline=(RECALL10, RECALL10_MOVED),
        reduction="croco_bench.metrics.correspondence:reduce_matches",
        training_free=True,
        version=2,
    ),
    "correspondence-hpatches": TaskCard(
        target="croco_bench.tasks.correspondence:HPatchesCorrespondence",
        summary="matches of points read from features without training: HPatches, 108 flat scenes",
        dataset="hpatches",
        headline=(RECALL10, RECALL10_MOVED),
        reduction="croco_bench.metrics.correspondence:reduce_matches",
        recipes="croco_bench.tasks:recipes/correspondence-hpatches",
        training_free=True,
        version=2,
    ),
    "correspondence-navi": TaskCard(
        target="croco_bench.tasks.correspondence:NaviCorrespondence",
        summary="matches of surface points read from features without training: NAVI, 35 objects in other places",
        dataset="navi",
        headline=RECALL_CM[:1],
        reduction="croco_bench.metrics.correspondence:reduce_matches",
        recipes="croco_bench.tasks:recipes/correspondence-navi",
        training_free=True,
        version=2,
    ),
    "correspondence-spair71k": TaskCard(
        target="croco_bench.tasks.correspondence:SPairCorrespondence",
        summary="matches of keypoints read from features without training: SPair-71k, 12,234 pairs of objects of one class",
        dataset="spair71k",
        headline=PCK_BOX,
        reduction="croco_bench.metrics.correspondence:reduce_matches",
        recipes="croco_bench.tasks:recipes/correspondence-spair71k",
        training_free=True,
        version=2,
    ),
    "imagenet-linear": TaskCard(
        target="croco_bench.tasks.imagenet_linear:ImageNetLinear",
        summary="linear probe of frozen features on ImageNet-1K, 50,000 validation images",
        dataset="imagenet",
        headline=(TOP1,),
    ),
    "kitti-depth": TaskCard(
        target="croco_bench.tasks.kitti_depth:KITTIDepth",
        summary="monocular depth on KITTI, metres, 652 test images of Eigen's split in Garg's crop",
        dataset="kitti_depth",
        headline=(DELTA1,),
    ),
    "nyuv2-depth": TaskCard(
        target="croco_bench.tasks.nyuv2_depth:NYUv2Depth",
        summary="monocular depth on NYUv2, metres, 654 test images",
        dataset="nyuv2",
        headline=(DELTA1,),
        showcase=True,
    ),
    "nyuv2-normals": TaskCard(
        target="croco_bench.tasks.nyuv2_normals:NYUv2Normals",
        summary="surface normals on NYUv2, GeoNet's or Ladicky's, 654 test images",
        dataset="nyuv2_normals",
        headline=(NORMAL_MEAN, WITHIN11),
        reduction="croco_bench.metrics.dense:reduce_angles",
        pooled=True,
    ),
    "relative-pose": TaskCard(
        target="croco_bench.tasks.relative_pose:RelativePose",
        summary="pose of one view relative to another, and localisation by it: 7-Scenes, 17,000 test images",
        dataset="7scenes",
        headline=(TRANSLATION_M, ROTATION_DEG),
        reduction="croco_bench.metrics.pose:reduce_poses",
    ),
    "sintel-flow": TaskCard(
        target="croco_bench.tasks.sintel_flow:SintelFlow",
        summary="optical flow on MPI-Sintel, pixels, clean and final pass",
        dataset="sintel",
        headline=(CLEAN_EPE, FINAL_EPE),
        reduction="croco_bench.metrics.flow:reduce_flow",
        pooled=True,
    ),
    "stereo": TaskCard(
        target="croco_bench.tasks.stereo:Stereo",
        summary="disparity of rectified pairs, pixels: Middlebury's MiddEval3, 15 training pairs",
        dataset="middlebury",
        headline=(AVGERR, BAD2),
        reduction="croco_bench.metrics.disparity:reduce_disparity",
    ),
    "taskonomy-curvature": _taskonomy("Curvature", "two principal curvatures"),
    "taskonomy-depth": _taskonomy("Depth", "depth along the optical axis"),
    "taskonomy-edges": _taskonomy("Edges", "texture edges"),
    "taskonomy-keypoints2d": _taskonomy("Keypoints2D", "keypoints of the image"),
    "taskonomy-keypoints3d": _taskonomy("Keypoints3D", "keypoints of the surface"),
    "taskonomy-normals": _taskonomy("Normals", "surface normals"),
    "taskonomy-occlusion": _taskonomy("Occlusion", "occlusion edges"),
    "taskonomy-reshading": _taskonomy("Reshading", "shading by a light at the camera"),
}
