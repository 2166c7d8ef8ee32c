"""Contract tests for heads and tasks: a test class that inherits one of them in a few lines checks a whole contract."""

from croco_bench.testing.heads import HeadContract
from croco_bench.testing.tasks import TaskContract

__all__ = ["HeadContract", "TaskContract"]
