"""Correspondence of points in two views, read from a backbone's features without training."""

from croco_bench.tasks.correspondence.hpatches import HPatchesCorrespondence
from croco_bench.tasks.correspondence.navi import NaviCorrespondence
from croco_bench.tasks.correspondence.spair import SPairCorrespondence
from croco_bench.tasks.correspondence.task import Correspondence, CorrespondenceOptions

__all__ = [
    "Correspondence",
    "CorrespondenceOptions",
    "HPatchesCorrespondence",
    "NaviCorrespondence",
    "SPairCorrespondence",
]
