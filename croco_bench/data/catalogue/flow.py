"""The datasets of optical flow: layouts, licences, where to get them. No torch."""

from __future__ import annotations

from croco_bench.data.catalogue.dataset_info import DatasetInfo

FLOW = (
    DatasetInfo(
        name="sintel",
        title="MPI-Sintel: optical flow of an animated film, in two passes",
        layout="""
sintel/
  training/{clean,final}/<scene>/frame_0001.png
  training/flow/<scene>/frame_0001.flo
  training/{occlusions,invalid}/<scene>/frame_0001.png    8 bits, 255 where occluded, where invalid; may be absent
  test/{clean,final}/<scene>/frame_0001.png               without flow, for submissions
or the same in a folder MPI-Sintel-complete of it
""",
        size="1,041 + 552 pairs of 436x1024 in each pass, 5 GB",
        license="research; the film is CC BY 3.0 by the Blender Foundation",
        link="http://files.is.tue.mpg.de/sintel/MPI-Sintel-complete.zip",
        checker="croco_bench.data.checks.flow:check_sintel",
    ),
    DatasetInfo(
        name="flyingchairs",
        title="FlyingChairs: optical flow of rendered chairs over photographs",
        layout="""
flyingchairs/
  chairs_split.txt              a line per pair, 1 train, 2 val; or FlyingChairs_train_val.txt, which is the same
  data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo
or the same in a folder FlyingChairs_release of it
""",
        size="22,232 + 640 pairs of 384x512, 31 GB",
        license="research only",
        link="https://lmb.informatik.uni-freiburg.de/data/FlyingChairs/FlyingChairs.zip and "
        "https://lmb.informatik.uni-freiburg.de/data/FlyingChairs/FlyingChairs_train_val.txt",
        checker="croco_bench.data.checks.flow:check_flyingchairs",
    ),
    DatasetInfo(
        name="flyingthings",
        title="FlyingThings3D: optical flow (and disparity) of things on random ways",
        layout="""
flyingthings/
  frames_{clean,final}pass/{TRAIN,TEST}/{A,B,C}/0000/{left,right}/0006.png
  optical_flow/{TRAIN,TEST}/{A,B,C}/0000/into_{future,past}/{left,right}/OpticalFlowInto{Future,Past}_0006_{L,R}.pfm
or the same in a folder FlyingThings3D or FlyingThings of it
for stereo, the folder sceneflow/ holds Driving, Monkaa and a link FlyingThings to ../flyingthings
""",
        size="40,302 + 7,866 pairs of 540x960 per pass and camera; 37 + 43 GB of images, 311 GB of flow",
        license="research only",
        link="https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html",
        checker="croco_bench.data.checks.flow:check_flyingthings",
    ),
    DatasetInfo(
        name="tartanair",
        title="TartanAir: optical flow of flights through rendered worlds",
        layout="""
tartanair/
  <world>/<world>/{Easy,Hard}/P000/image_left/000000_left.png       or <world>/{Easy,Hard}/...
  <world>/<world>/{Easy,Hard}/P000/flow/000000_000001_flow.npy, 000000_000001_mask.npy (may be absent)
""",
        size="306,268 pairs of 480x640",
        license="see its page",
        link="https://theairlab.org/tartanair-dataset",
        checker="croco_bench.data.checks.flow:check_tartanair",
    ),
    DatasetInfo(
        name="autoflow",
        title="AutoFlow: optical flow of layered shapes, made to train on",
        layout="""
autoflow/
  static_40k_png_{1,2,3,4}_of_4/table_0_batch_0/im0.png, im1.png, forward.flo
""",
        size="40,000 pairs",
        license="see its page",
        link="https://autoflow-google.github.io",
        checker="croco_bench.data.checks.flow:check_autoflow",
    ),
    DatasetInfo(
        name="kitti2012",
        title="KITTI 2012: optical flow and disparity of still streets, sparse",
        layout="""
kitti2012/
  {training,testing}/colored_0/000000_10.png, 000000_11.png; colored_1/000000_10.png for stereo
  training/flow_occ/000000_10.png, flow_noc/...   16 bits: 64 u + 32768, 64 v + 32768, valid
  training/disp_occ/000000_10.png, disp_noc/...   16 bits: 256 d, 0 unknown
or the same in a folder data_stereo_flow of it
""",
        size="194 + 195 pairs of about 375x1242, 2 GB",
        license="CC BY-NC-SA 3.0",
        link="https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php",
        checker="croco_bench.data.checks.flow:check_kitti2012",
    ),
    DatasetInfo(
        name="kitti2015",
        title="KITTI 2015: optical flow and disparity of streets with traffic, sparse",
        layout="""
kitti2015/
  {training,testing}/image_2/000000_10.png, 000000_11.png; image_3/000000_10.png for stereo
  training/flow_occ/000000_10.png, flow_noc/...       as kitti2012
  training/disp_occ_0/000000_10.png, disp_noc_0/...
or the same in a folder data_scene_flow of it
""",
        size="200 + 200 pairs of about 375x1242, 2 GB",
        license="CC BY-NC-SA 3.0",
        link="https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php",
        checker="croco_bench.data.checks.flow:check_kitti2015",
    ),
    DatasetInfo(
        name="hd1k",
        title="HD1K: optical flow of a street in all weathers",
        layout="""
hd1k/
  hd1k_input/image_2/000000_0010.png        <sequence>_<frame>
  hd1k_flow_gt/flow_occ/000000_0010.png     as kitti2012
  hd1k_challenge/image_2/...                without flow, for submissions
or the same in a folder hd1k_full_package of it
""",
        size="about 1,000 pairs of 1080x2560, 8 GB",
        license="see its page",
        link="http://hci-benchmark.iwr.uni-heidelberg.de",
        checker="croco_bench.data.checks.flow:check_hd1k",
    ),
    DatasetInfo(
        name="spring",
        title="Spring: optical flow and disparity of an animated film, four values for each pixel",
        layout="""
spring/
  {train,test}/0001/frame_{left,right}/frame_left_0001.png
  train/0001/flow_{FW,BW}_{left,right}/flow_FW_left_0001.flo5     HDF5 of twice the resolution, NaN unknown
  train/0001/disp1_{left,right}/disp1_left_0001.dsp5
or the same in a folder spring of it
""",
        size="19,852 + 3,960 pairs of 1080x1920 for flow, 5,000 + 2,000 for stereo",
        license="CC BY 4.0",
        link="https://spring-benchmark.org",
        checker="croco_bench.data.checks.flow:check_spring",
    ),
)
