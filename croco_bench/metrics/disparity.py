"""Disparity: errors e = |p - t| of known pixels, image by image, as Middlebury and ETH3D; then all pixels of the set, pooled."""

from __future__ import annotations

from croco_bench.metrics import Metric

THRESHOLDS = (0.5, 1.0, 2.0, 3.0)


def _of_images(suffix: str, title: str) -> tuple[Metric, ...]:
    """Means over images; `suffix` of the names and `title` of the labels say of which pixels."""
    return (
        Metric(f"avgerr{suffix}", f"avgerr{title}", "px", "lower", "image", 2, "mean[e]"),
        Metric(f"rmse{suffix}", f"rms{title}", "px", "lower", "image", 2, "sqrt(mean[e²])"),
        *(
            Metric(
                f"bad{most:g}{suffix}", f"bad {most:.1f}{title}", "%", "lower", "image", 2, f"100 * mean[e > {most:g}]"
            )
            for most in THRESHOLDS
        ),
        Metric(f"d1{suffix}", f"D1{title}", "%", "lower", "image", 2, "100 * mean[e > 3 and e > 0.05 t]"),
    )


OF_KNOWN = _of_images("", "")
# What both views show.
OF_SEEN_TWICE = _of_images("_noc", " noc")
POOLED = (
    Metric("avgerr_pooled", "avgerr pooled", "px", "lower", "pixel", 2, "mean[e]"),
    *(
        Metric(f"bad{most:g}_pooled", f"bad {most:.1f} pooled", "%", "lower", "pixel", 2, f"100 * mean[e > {most:g}]")
        for most in THRESHOLDS
    ),
)
ALL = (*OF_KNOWN, *OF_SEEN_TWICE, *POOLED)
# What tables show.
AVGERR = OF_KNOWN[0]
BAD2 = next(metric for metric in OF_KNOWN if metric.name == "bad2")
