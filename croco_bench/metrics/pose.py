"""Relative pose of two views, and visual localisation from several such poses.

Angles of translation directions are not folded: opposite directions are 180 degrees apart. Metrics whose names end in
`_folded` take the smaller one of the angle and its supplement, as SuperGlue, LoFTR, PoseDiffusion and VGGT do.
"""

from __future__ import annotations

from dataclasses import replace

from croco_bench.metrics import Metric

_ANGLES = "max(∠R, ∠t)"


def _share(name: str, label: str, formula: str) -> Metric:
    return Metric(name, label, "%", "higher", "pair", 1, f"100 * {formula}")


def _auc(degrees: int) -> Metric:
    formula = f"area under the recall of {_ANGLES}, straight between errors, from 0 to {degrees}° / {degrees}°"
    return _share(f"auc{degrees}", f"AUC@{degrees}°", formula)


def _folded(metric: Metric) -> Metric:
    formula = f"{metric.formula}; ∠t = min(∠t, 180° - ∠t)"
    return replace(metric, name=f"{metric.name}_folded", label=f"{metric.label} folded", formula=formula)


TRANSLATION_M = Metric(
    "translation_m",
    "t",
    "m",
    "lower",
    "scene",
    3,
    "mean over scenes of median over queries of ‖c_p - c_t‖, centres in m",
)
ROTATION_DEG = Metric(
    "rotation_deg", "R", "deg", "lower", "scene", 2, "mean over scenes of median over queries of ∠(R_pᵀ R_t)"
)
SUCCESS = Metric(
    *("success_5cm_5deg", "5 cm, 5°", "%", "higher", "scene", 1),
    formula="100 * mean over scenes of mean over queries of [‖c_p - c_t‖ <= 0.05 m and ∠(R_pᵀ R_t) <= 5°]",
)

PAIR_ROTATION_DEG = Metric("pair_rotation_deg", "∠R", "deg", "lower", "pair", 2, "median of ∠R = ∠(R_pᵀ R_t)")
PAIR_DIRECTION_DEG = Metric("pair_direction_deg", "∠t", "deg", "lower", "pair", 2, "median of ∠t = ∠(t_p, t_t)")
PAIR_TRANSLATION_M = Metric("pair_translation_m", "‖t‖", "m", "lower", "pair", 3, "median of ‖t_p - t_t‖")
AUC5, AUC10, AUC20 = _auc(5), _auc(10), _auc(20)
MAA30 = _share("maa30", "mAA@30°", f"mean over τ = 1°, ..., 30° of mean[{_ANGLES} < τ]")
RRA15 = _share("rra15", "RRA@15°", "mean[∠R < 15°]")
RTA15 = _share("rta15", "RTA@15°", "mean[∠t < 15°]")
FAILED = Metric(
    "failed_pairs", "failed", "%", "lower", "pair", 1, "100 * mean[no pose was found]; their errors are infinite"
)
STILL = Metric(
    *("zero_baselines", "zero baselines", "", "lower", "pair", 0),
    formula="#{‖t_t‖ < 1 µm}, pairs without a true direction: rotation alone is scored",
)

_DIRECTED = (PAIR_DIRECTION_DEG, AUC5, AUC10, AUC20, MAA30, RTA15)
# The first has a value for each single pair, which pictures show.
PAIRS = (PAIR_ROTATION_DEG, *_DIRECTED, RRA15, *(_folded(metric) for metric in _DIRECTED), FAILED, STILL)
LOCALIZATION = (TRANSLATION_M, ROTATION_DEG, SUCCESS)
