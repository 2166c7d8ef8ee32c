"""Optical flow on MPI-Sintel."""

from croco_bench.tasks.sintel_flow.task import SintelFlow, SintelFlowOptions

__all__ = ["SintelFlow", "SintelFlowOptions"]
