"""What this distribution adds to croco-bench: cards only, so that listing them imports no torch."""

from croco_bench.data.catalogue import DatasetInfo
from croco_bench.metrics.definitions import TOP1
from croco_bench.registry import BackboneCard, HeadCard, ObjectiveCard, TaskCard

TASKS = {
    "count-shapes": TaskCard(
        target="bench_shapes.task:CountShapes",
        summary="number of discs in an image, as a class",
        dataset="shapes",
        headline=(TOP1,),
    )
}
HEADS = {"token-mlp": HeadCard("bench_shapes.head:TokenMLP", "an MLP per token, then their mean")}
BACKBONES = {
    "shapes-mixer": BackboneCard(
        target="bench_shapes.backbone:Mixer",
        summary="four MLPs on patches, random weights",
        license="Apache-2.0",
        training_data=(),
    )
}
OBJECTIVES = {
    "blurred": ObjectiveCard("bench_shapes.objective:BlurredAutoencoder", "masked autoencoding of blurred images")
}
DATASETS = {
    "shapes": DatasetInfo(
        name="shapes",
        title="Shapes: images with one to three discs",
        size="as many as you draw",
        license="CC0",
        link="https://example.org/shapes",
        layout="\nshapes/\n  {train,test}/<number of discs>/<number>.png\n",
        module="bench_shapes.dataset",
    )
}
