"""The types that backbones, heads, tasks and the engine share. Their docstrings are the specification.

Shapes: B batch, N tokens, C channels, H W pixels, h w patch grid. A size is always (H, W).
Units: depth in metres (`depth_m`), flow in pixels (`flow_px`), angles in degrees (`rotation_deg`).
"""

from croco_bench.contracts.heads import BankHead, GridHead, Head, PooledHead, resize_maps
from croco_bench.contracts.networks import (
    Backbone,
    Features,
    FeatureSpec,
    Origin,
    PairBackbone,
    Pretraining,
)
from croco_bench.contracts.tasks import (
    NETWORKS_ONLY,
    BareBackbone,
    ClassicalMethod,
    Evaluation,
    Reader,
    ScoredTask,
    Task,
    TaskData,
    TensorPredict,
    TrainingFreeTask,
    TrainingSplits,
)

__all__ = [
    "NETWORKS_ONLY",
    "Backbone",
    "BankHead",
    "BareBackbone",
    "ClassicalMethod",
    "Evaluation",
    "FeatureSpec",
    "Features",
    "GridHead",
    "Head",
    "Origin",
    "PairBackbone",
    "PooledHead",
    "Pretraining",
    "Reader",
    "ScoredTask",
    "Task",
    "TaskData",
    "TensorPredict",
    "TrainingFreeTask",
    "TrainingSplits",
    "resize_maps",
]
