"""Contract tests for backbones, heads and tasks.

A test class that inherits one of them in a few lines checks a whole contract; `check_backbone`, `check_head` and
`check_task` do it in one call, without pytest.
"""

from croco_bench.testing.backbones import BackboneContract
from croco_bench.testing.check import check_backbone, check_head, check_task
from croco_bench.testing.heads import HeadContract
from croco_bench.testing.tasks import TaskContract
from croco_bench.testing.training_free import TrainingFreeContract

__all__ = [
    "BackboneContract",
    "HeadContract",
    "TaskContract",
    "TrainingFreeContract",
    "check_backbone",
    "check_head",
    "check_task",
]
