"""Semantic segmentation: overlap of classes, from areas summed over the whole set (Long et al. 2015)."""

from __future__ import annotations

from croco_bench.metrics import Metric

MIOU = Metric("miou", "mIoU", "%", "higher", "class", 1, "100 * mean_c[ΣI_c / ΣU_c], classes with ΣU_c > 0")
MACC = Metric("macc", "mAcc", "%", "higher", "class", 1, "100 * mean_c[ΣI_c / ΣL_c], classes with ΣL_c > 0")
AACC = Metric("aacc", "aAcc", "%", "higher", "pixel", 1, "100 * Σ_c ΣI_c / Σ_c ΣL_c")
CLASSES = Metric("classes", "classes", "", "higher", "class", 0, "#{c: ΣU_c > 0}, the classes that mIoU is a mean of")

ALL = (MIOU, MACC, AACC, CLASSES)
