"""Disparity of rectified pairs."""

from croco_bench.tasks.stereo.task import Stereo, StereoOptions

__all__ = ["Stereo", "StereoOptions"]
