"""Masks of the multimae objective: how many patches of each modality are visible."""

import numpy as np
import pytest
import torch

from croco_bench.pretraining.multimodal import sample_visible
from tests.pretraining.test_multimodal import COUNT, objective


@pytest.mark.parametrize(
    ("visible", "concentration"), [(32, 1.0), (1, 1.0), (150, 1.0), (191, 0.5), (32, 0.05), (32, 50)]
)
def test_budgets_sum_to_what_was_asked_and_fit_every_modality(visible: int, concentration: float) -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        drawn = sample_visible(COUNT, visible, concentration, rng)
        assert drawn.dtype == torch.int64 and drawn.shape == (visible,)
        assert bool((drawn.diff() > 0).all()) and drawn[0] >= 0 and drawn[-1] < 3 * COUNT
        shares.append(np.bincount(drawn.numpy() // COUNT, minlength=3))
        assert shares[-1].sum() == visible and shares[-1].max() <= COUNT
    assert np.allclose(np.mean(shares, axis=0), visible / 3, atol=0.12 * visible + 0.1)


def test_low_concentration_shows_one_modality_and_high_shows_all_alike() -> None:
    rng = np.random.default_rng(0)
    largest = {
        concentration: np.mean(
            [np.bincount(sample_visible(COUNT, 30, concentration, rng) // COUNT).max() for _ in range(200)]
        )
        for concentration in (0.02, 1.0, 200.0)
    }
    assert largest[0.02] > 28 and 16 < largest[1.0] < 21 and largest[200.0] < 13


def test_within_a_modality_every_patch_is_drawn_as_often() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([sample_visible(COUNT, 32, 1.0, rng) for _ in range(3000)]), minlength=192)
    assert counts.min() > 400 and counts.max() < 600  # 500 expected


def test_a_mask_is_a_function_of_the_samples_own_generator() -> None:
    model = objective()
    first, again, other = (model.sample_mask(np.random.default_rng(seed))["visible"] for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
