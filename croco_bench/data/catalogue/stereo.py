"""The datasets of stereo: layouts, licences, where to get them; KITTI and Spring are with optical flow. No torch."""

from __future__ import annotations

from croco_bench.data.catalogue.dataset_info import DatasetInfo

STEREO = (
    DatasetInfo(
        name="sceneflow",
        title="SceneFlow: disparity of Driving, Monkaa and FlyingThings",
        layout="""
sceneflow/
  Driving/frames_{clean,final}pass/<lens>/<way>/<pace>/{left,right}/0001.png
  Monkaa/frames_{clean,final}pass/<scene>/{left,right}/0000.png
  FlyingThings/frames_{clean,final}pass/{TRAIN,TEST}/{A,B,C}/0000/{left,right}/0006.png
  Driving/disparity/<lens>/<way>/<pace>/left/0001.pfm, and so for the others
FlyingThings may be a link to ../flyingthings, or be called FlyingThings3D
""",
        size="35,454 + 4,370 pairs of 540x960 in each pass",
        license="research only",
        link="https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html",
        checker="croco_bench.data.checks.stereo:check_sceneflow",
    ),
    DatasetInfo(
        name="middlebury",
        title="Middlebury's stereo of 2005, 2006, 2014 and 2021, and MiddEval3",
        layout="""
middlebury/
  {2005/train,2006}/<scene>/disp1.png, Illum{1,2,3}/Exp{0,1,2}/view1.png, view5.png    of full size
  2014/<scene>/im0.png, im1.png, im1E.png, im1L.png, disp0.pfm
  2021/data/<scene>/disp0.pfm, ambient/<light>/im0*.png, im1*.png
  MiddEval3_{F,H,Q}/{train,test}/<scene>/im0.png, im1.png, disp0GT.pfm, mask0nocc.png
  or, as it unpacks, MiddEval3/{training,test}{F,H,Q}/<scene>/...
any of these
""",
        size="54, 189, 138 and 355 pairs; 15 + 15 of the evaluation",
        license="use and publication permitted; citation is asked for",
        link="https://vision.middlebury.edu/stereo/data and https://vision.middlebury.edu/stereo/submit3",
        checker="croco_bench.data.checks.stereo:check_middlebury",
    ),
    DatasetInfo(
        name="eth3d",
        title="ETH3D: stereo of low resolution, grey",
        layout="""
eth3d/
  {train,test}/<scene>/im0.png, im1.png             or two_view_training, two_view_test
  train_gt/<scene>/disp0GT.pfm, mask0nocc.png       or two_view_training_gt
""",
        size="27 + 20 pairs",
        license="CC BY-NC-SA 4.0",
        link="https://www.eth3d.net/datasets",
        checker="croco_bench.data.checks.stereo:check_eth3d",
    ),
    DatasetInfo(
        name="crestereo",
        title="CREStereo: stereo of rendered things, made to train on",
        layout="""
crestereo/
  {hole,reflective,shapenet,tree}/<id>_left.jpg, <id>_right.jpg, <id>_left.disp.png    16 bits: 32 d, 0 unknown
or the same in a folder stereo_trainset/crestereo of it
""",
        size="200,000 pairs of 1080x1920",
        license="see its page",
        link="https://github.com/megvii-research/CREStereo",
        checker="croco_bench.data.checks.stereo:check_crestereo",
    ),
    DatasetInfo(
        name="booster",
        title="Booster: stereo of rooms with glass and mirrors",
        layout="""
booster/
  {train,test}/balanced/<scene>/camera_00/*.png, camera_02/*.png
  train/balanced/<scene>/disp_00.npy
or the same in a folder booster_gt of it
""",
        size="228 + 191 pairs of 3008x4112",
        license="see its page",
        link="https://cvlab-unibo.github.io/booster-web",
        checker="croco_bench.data.checks.stereo:check_booster",
    ),
)
