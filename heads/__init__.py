"""The benchmark's heads, one module each, with a card below. Imports no torch."""

if __name__ != "croco_bench.heads":
    raise ImportError(
        "this folder is the package croco_bench.heads: install the project (pip install -e .) and import that"
    )

from croco_bench.registry import HeadCard

CATALOGUE = {
    "attentive": HeadCard(
        "croco_bench.heads.attentive:Attentive", "one query attends to the last block's tokens (CAPI, AIM, V-JEPA)"
    ),
    "convnext": HeadCard(
        "croco_bench.heads.convnext:ConvNeXt", "ConvNeXt blocks on a finer map, as in MultiMAE (Bachmann 2022)"
    ),
    "dense-linear": HeadCard(
        "croco_bench.heads.dense_linear:DenseLinear", "batch norm and 1x1 convolution on the patch grid (Siméoni 2025)"
    ),
    "dpt": HeadCard("croco_bench.heads.dpt:DPT", "dense prediction transformer on four block outputs (Ranftl 2021)"),
    "dpt-probe": HeadCard(
        "croco_bench.heads.dpt_probe:DPTProbe", "DPT head of evaluations of frozen features, as in Pixio (Yang 2025)"
    ),
    "linear": HeadCard(
        "croco_bench.heads.linear:Linear", "batch norm and linear classifier on one pooled vector (He 2022)"
    ),
    "pose": HeadCard(
        "croco_bench.heads.pose:Pose", "residual blocks per token, mean, MLP: a pose per pair (Dong 2024)"
    ),
    "retrieval": HeadCard(
        "croco_bench.heads.retrieval:Retrieval", "classes of the nearest training patches, untrained (Balazevic 2023)"
    ),
    "upernet": HeadCard("croco_bench.heads.upernet:UPerNet", "pyramid of four block outputs with pooling (Xiao 2018)"),
}
