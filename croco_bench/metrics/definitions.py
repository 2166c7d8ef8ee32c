"""Every metric: name, label, unit, direction, members of its mean, and formula. Imports no numpy.

In formulas, `p` is the prediction and `t` the truth. Tables and catalogues read these; the meters of this folder compute them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from croco_bench.metrics import Metric

# Classification of whole images.
TOP1 = Metric("top1", "top-1", "%", "higher", "image", 1, "100 * mean[the true class has the highest score]")
TOP5 = Metric("top5", "top-5", "%", "higher", "image", 1, "100 * mean[fewer than five classes score higher]")
CLASSIFICATION = (TOP1, TOP5)

# Classification under corruptions (Hendrycks 2019), relative to AlexNet's published errors.
MCE = Metric("mce", "mCE", "%", "lower", "image", 1, "100 * mean_c[mean_s[error] / mean_s[error of AlexNet]]")
CORRUPTIONS = Metric("corruptions", "corruptions", "", "neither", "image", 0, "#{c}, those that mCE is a mean of")
CORRUPTED = (MCE, TOP1, CORRUPTIONS)

# Regression of dense maps.
L1 = Metric("l1", "L1", "", "lower", "image", 4, "mean over valid pixels and channels of |p - t|")
DENSE = (L1,)

# Semantic segmentation: overlap of classes, from areas summed over the whole set (Long et al. 2015).
MIOU = Metric("miou", "mIoU", "%", "higher", "class", 1, "100 * mean_c[ΣI_c / ΣU_c], classes with ΣU_c > 0")
MACC = Metric("macc", "mAcc", "%", "higher", "class", 1, "100 * mean_c[ΣI_c / ΣL_c], classes with ΣL_c > 0")
AACC = Metric("aacc", "aAcc", "%", "higher", "pixel", 1, "100 * Σ_c ΣI_c / Σ_c ΣL_c")
CLASSES = Metric("classes", "classes", "", "neither", "class", 0, "#{c: ΣU_c > 0}, the classes that mIoU is a mean of")
SEGMENTATION = (MIOU, MACC, AACC, CLASSES)


# Monocular depth: the standard error measures (Eigen et al. 2014).
def _delta(power: int) -> Metric:
    superscript = {1: "", 2: "²", 3: "³"}[power]
    formula = f"100 * mean[max(p/t, t/p) < 1.25{superscript}]"
    return Metric(f"delta{power}", f"δ{power}", "%", "higher", "image", 1, formula)


def _depth_error(name: str, label: str, unit: Literal["", "m"], formula: str) -> Metric:
    return Metric(name, label, unit, "lower", "image", 3, formula)


DELTA1, DELTA2, DELTA3 = _delta(1), _delta(2), _delta(3)
ABS_REL = _depth_error("abs_rel", "AbsRel", "", "mean[|p - t| / t]")
SQ_REL = _depth_error("sq_rel", "SqRel", "m", "mean[(p - t)² / t]")
RMSE = _depth_error("rmse", "RMSE", "m", "sqrt(mean[(p - t)²])")
RMSE_LOG = _depth_error("rmse_log", "RMSElog", "", "sqrt(mean[(ln p - ln t)²])")
LOG10 = _depth_error("log10", "log10", "", "mean[|log10 p - log10 t|]")
SILOG = _depth_error("silog", "SILog", "", "100 * sqrt(mean[e²] - mean[e]²), e = ln p - ln t")
DEPTH = (DELTA1, DELTA2, DELTA3, ABS_REL, SQ_REL, RMSE, RMSE_LOG, LOG10, SILOG)

# Surface normals: angles a between p and t of every valid pixel of the set, pooled (Fouhey et al. 2013, Qi et al. 2018).
NORMAL_THRESHOLDS_DEG = (5.0, 7.5, 11.25, 22.5, 30.0)


def _angle(name: str, label: str, formula: str) -> Metric:
    return Metric(name, label, "deg", "lower", "pixel", 2, formula)


def _within(degrees: float) -> Metric:
    return Metric(f"within{degrees:g}", f"< {degrees:g}°", "%", "higher", "pixel", 1, f"100 * mean[a < {degrees:g}°]")


NORMAL_MEAN = _angle("mean_deg", "mean angle", "mean[a], a = ∠(p, t)")
NORMAL_MEDIAN = _angle("median_deg", "median angle", "median[a]")
NORMAL_RMSE = _angle("rmse_deg", "RMS angle", "sqrt(mean[a²])")
NORMALS = (NORMAL_MEAN, NORMAL_MEDIAN, NORMAL_RMSE, *map(_within, NORMAL_THRESHOLDS_DEG))
WITHIN11 = next(metric for metric in NORMALS if metric.name == "within11.25")

# Disparity: errors e = |p - t| of known pixels, per image as in Middlebury and ETH3D, then pooled over the whole set.
DISPARITY_THRESHOLDS_PX = (0.5, 1.0, 2.0, 3.0)


def _disparity_bad(threshold: float, suffix: str, title: str, average: Literal["image", "pixel"]) -> Metric:
    name, label = f"bad{threshold:g}{suffix}", f"bad {threshold:.1f}{title}"
    return Metric(name, label, "%", "lower", average, 2, f"100 * mean[e > {threshold:g}]")


def _disparity_per_image(suffix: str, title: str) -> tuple[Metric, ...]:
    """Means over images; `suffix` of the names and `title` of the labels tell the set of pixels."""
    return (
        Metric(f"avgerr{suffix}", f"avgerr{title}", "px", "lower", "image", 2, "mean[e]"),
        Metric(f"rmse{suffix}", f"rms{title}", "px", "lower", "image", 2, "sqrt(mean[e²])"),
        *(_disparity_bad(threshold, suffix, title, "image") for threshold in DISPARITY_THRESHOLDS_PX),
        Metric(f"d1{suffix}", f"D1{title}", "%", "lower", "image", 2, "100 * mean[e > 3 and e > 0.05 t]"),
    )


DISPARITY_KNOWN = _disparity_per_image("", "")
# Pixels visible in both views.
DISPARITY_NOC = _disparity_per_image("_noc", " noc")
DISPARITY_POOLED = (
    Metric("avgerr_pooled", "avgerr pooled", "px", "lower", "pixel", 2, "mean[e]"),
    *(_disparity_bad(threshold, "_pooled", " pooled", "pixel") for threshold in DISPARITY_THRESHOLDS_PX),
)
DISPARITY = (*DISPARITY_KNOWN, *DISPARITY_NOC, *DISPARITY_POOLED)
# Columns of tables.
AVGERR = DISPARITY_KNOWN[0]
BAD2 = next(metric for metric in DISPARITY_KNOWN if metric.name == "bad2")


# Optical flow: endpoint errors e = ‖p - t‖₂ of every known pixel of the set, pooled (Baker et al. 2011, Butler et al. 2012).
def _flow_mean(name: str, label: str, pixels: str) -> Metric:
    return Metric(name, label, "px", "lower", "pixel", 2, f"mean[e], {pixels}")


def _flow_share(name: str, label: str, when: str) -> Metric:
    return Metric(name, label, "%", "lower", "pixel", 2, f"100 * mean[{when}]")


EPE = _flow_mean("epe", "EPE", "all known pixels")
EPE_MATCHED = _flow_mean("epe_matched", "EPE matched", "pixels that view 2 shows")
EPE_UNMATCHED = _flow_mean("epe_unmatched", "EPE unmatched", "pixels that view 2 doesn't show")
EPE_MASKED = _flow_mean("epe_masked", "EPE masked", "without the pixels whose truth isn't to be relied on")
EPE_MATCHED_MASKED = _flow_mean("epe_matched_masked", "EPE matched, masked", "reliable pixels that view 2 shows")
EPE_UNMATCHED_MASKED = _flow_mean(
    "epe_unmatched_masked", "EPE unmatched, masked", "reliable pixels that view 2 doesn't show"
)
SLOW = _flow_mean("s0-10", "s0-10", "‖t‖ < 10 px")
MEDIUM = _flow_mean("s10-40", "s10-40", "10 <= ‖t‖ < 40 px")
FAST = _flow_mean("s40+", "s40+", "‖t‖ >= 40 px")
BAD1 = _flow_share("bad1", "> 1 px", "e > 1 px")
BAD3 = _flow_share("bad3", "> 3 px", "e > 3 px")
BAD5 = _flow_share("bad5", "> 5 px", "e > 5 px")
FL_ALL = _flow_share("fl_all", "Fl-all", "e > 3 px and e > 0.05 ‖t‖")
FLOW = (
    EPE,
    EPE_MATCHED,
    EPE_UNMATCHED,
    EPE_MASKED,
    EPE_MATCHED_MASKED,
    EPE_UNMATCHED_MASKED,
    SLOW,
    MEDIUM,
    FAST,
    BAD1,
    BAD3,
    BAD5,
    FL_ALL,
)
# Columns of tables for Sintel.
CLEAN_EPE = replace(EPE, name="clean/epe", label="EPE clean")
FINAL_EPE = replace(EPE, name="final/epe", label="EPE final")

# Relative pose of two views, and visual localization from several relative poses. Angles between translation directions
# range from 0 to 180 degrees. Metrics called `..._folded` take the smaller of the angle and its supplement, as SuperGlue,
# LoFTR, PoseDiffusion and VGGT do.
_ANGLES = "max(∠R, ∠t)"


def _pair_share(name: str, label: str, formula: str) -> Metric:
    return Metric(name, label, "%", "higher", "pair", 1, f"100 * {formula}")


def _auc(degrees: int) -> Metric:
    formula = f"area under the recall of {_ANGLES}, straight between errors, from 0 to {degrees}° / {degrees}°"
    return _pair_share(f"auc{degrees}", f"AUC@{degrees}°", formula)


def _folded(metric: Metric) -> Metric:
    formula = f"{metric.formula}; ∠t = min(∠t, 180° - ∠t)"
    return replace(metric, name=f"{metric.name}_folded", label=f"{metric.label} folded", formula=formula)


_MEDIAN = "mean over scenes of median over queries of"
TRANSLATION_M = Metric("translation_m", "t", "m", "lower", "scene", 3, f"{_MEDIAN} ‖c_p - c_t‖, centres in m")
ROTATION_DEG = Metric("rotation_deg", "R", "deg", "lower", "scene", 2, f"{_MEDIAN} ∠(R_pᵀ R_t)")
SUCCESS = Metric(
    name="success_5cm_5deg",
    label="5 cm, 5°",
    unit="%",
    better="higher",
    average="scene",
    digits=1,
    formula="100 * mean over scenes of mean over queries of [‖c_p - c_t‖ <= 0.05 m and ∠(R_pᵀ R_t) <= 5°]",
)
LOCALIZATION = (TRANSLATION_M, ROTATION_DEG, SUCCESS)

PAIR_ROTATION_DEG = Metric("pair_rotation_deg", "∠R", "deg", "lower", "pair", 2, "median of ∠R = ∠(R_pᵀ R_t)")
PAIR_DIRECTION_DEG = Metric("pair_direction_deg", "∠t", "deg", "lower", "pair", 2, "median of ∠t = ∠(t_p, t_t)")
PAIR_TRANSLATION_M = Metric("pair_translation_m", "‖t‖", "m", "lower", "pair", 3, "median of ‖t_p - t_t‖")
# Shares of pairs within 10 degrees and a distance, as Alligat0R and Gekko report for ScanNet-1500.
NEAR_DEG, NEAR_M = 10, {"25cm": 0.25, "50cm": 0.5, "1m": 1.0}
NEAR = tuple(
    _pair_share(
        f"recall_{NEAR_DEG}deg_{name}",
        f"{NEAR_DEG}°, {meters:g} m",
        f"mean[∠R < {NEAR_DEG}° and ‖t_p - t_t‖ < {meters:g} m]",
    )
    for name, meters in NEAR_M.items()
)
METRIC_PAIRS = (PAIR_TRANSLATION_M, *NEAR)
AUC5, AUC10, AUC20 = _auc(5), _auc(10), _auc(20)
MAA30 = _pair_share("maa30", "mAA@30°", f"mean over τ = 1°, ..., 30° of mean[{_ANGLES} < τ]")
RRA15 = _pair_share("rra15", "RRA@15°", "mean[∠R < 15°]")
RTA15 = _pair_share("rta15", "RTA@15°", "mean[∠t < 15°]")
FAILED = Metric(
    name="failed_pairs",
    label="failed",
    unit="%",
    better="lower",
    average="pair",
    digits=1,
    formula="100 * mean[no pose was found]; their errors are infinite",
)
STILL = Metric(
    name="zero_baselines",
    label="zero baselines",
    unit="",
    better="lower",
    average="pair",
    digits=0,
    formula="#{‖t_t‖ < 1 µm}, pairs without a true direction: rotation alone is scored",
)
_DIRECTED = (PAIR_DIRECTION_DEG, AUC5, AUC10, AUC20, MAA30, RTA15)
# The first one has a value per pair, which figures show.
PAIRS = (PAIR_ROTATION_DEG, *_DIRECTED, RRA15, *(_folded(metric) for metric in _DIRECTED), FAILED, STILL)
