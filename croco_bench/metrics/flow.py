"""Optical flow: endpoint errors e = ‖p - t‖₂ of every known pixel of the set, pooled (Baker et al. 2011, Butler et al. 2012)."""

from __future__ import annotations

from dataclasses import replace

from croco_bench.metrics import Metric


def _mean(name: str, label: str, pixels: str) -> Metric:
    return Metric(name, label, "px", "lower", "pixel", 2, f"mean[e], {pixels}")


def _share(name: str, label: str, when: str) -> Metric:
    return Metric(name, label, "%", "lower", "pixel", 2, f"100 * mean[{when}]")


EPE = _mean("epe", "EPE", "all known pixels")
EPE_MATCHED = _mean("epe_matched", "EPE matched", "pixels that view 2 shows")
EPE_UNMATCHED = _mean("epe_unmatched", "EPE unmatched", "pixels that view 2 doesn't show")
EPE_MASKED = _mean("epe_masked", "EPE masked", "without the pixels whose truth isn't to be relied on")
EPE_MATCHED_MASKED = _mean("epe_matched_masked", "EPE matched, masked", "reliable pixels that view 2 shows")
EPE_UNMATCHED_MASKED = _mean(
    "epe_unmatched_masked", "EPE unmatched, masked", "reliable pixels that view 2 doesn't show"
)
SLOW = _mean("s0-10", "s0-10", "‖t‖ < 10 px")
MEDIUM = _mean("s10-40", "s10-40", "10 <= ‖t‖ < 40 px")
FAST = _mean("s40+", "s40+", "‖t‖ >= 40 px")
BAD1 = _share("bad1", "> 1 px", "e > 1 px")
BAD3 = _share("bad3", "> 3 px", "e > 3 px")
BAD5 = _share("bad5", "> 5 px", "e > 5 px")
FL_ALL = _share("fl_all", "Fl-all", "e > 3 px and e > 0.05 ‖t‖")

ALL = (
    *(EPE, EPE_MATCHED, EPE_UNMATCHED, EPE_MASKED, EPE_MATCHED_MASKED, EPE_UNMATCHED_MASKED),
    *(SLOW, MEDIUM, FAST, BAD1, BAD3, BAD5, FL_ALL),
)
# What tables show of Sintel.
CLEAN_EPE = replace(EPE, name="clean/epe", label="EPE clean")
FINAL_EPE = replace(EPE, name="final/epe", label="EPE final")
