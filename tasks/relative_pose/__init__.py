"""Relative pose of two views, and visual localisation by it."""

from croco_bench.tasks.relative_pose.task import RelativePose, RelativePoseOptions

__all__ = ["RelativePose", "RelativePoseOptions"]
