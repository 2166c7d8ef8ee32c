"""The distribution of first weights, against the deviations that the authors' codes draw with; listed deviations."""

import pytest

from croco_bench import load_backbone
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build


def test_joint_projections_of_multimae_start_as_separate_matrices() -> None:
    """Deviation of a square Xavier matrix, 1 / sqrt(width); one matrix of three times the height has 0.707 of it."""
    model = build(recipes.load("mini", ["objective=multimae"]), seed=0)
    joint = {name: weight for name, weight in model.named_parameters() if name.endswith(("qkv.weight", "kv.weight"))}
    assert sum(name.startswith("backbone.blocks.") for name in joint) == 4
    for name, weight in joint.items():
        assert float(weight.detach().std()) == pytest.approx(weight.shape[1] ** -0.5, rel=0.02), name


@pytest.mark.parametrize(("name", "share"), [("mini-multimae", 1.0), ("mini-mae", 0.5**0.5), ("mini-croco", 0.5**0.5)])
def test_random_backbones_start_as_their_family(name: str, share: float) -> None:
    weight = load_backbone(f"random:{name}", image_size=64).get_parameter("blocks.0.attn.qkv.weight").detach()
    assert float(weight.std()) == pytest.approx(share * weight.shape[1] ** -0.5, rel=0.02)
    assert float(weight.abs().max()) <= 3**0.5 * share * weight.shape[1] ** -0.5


@pytest.mark.parametrize(("objective", "words"), [("mae", "class token"), ("multimae", "decays all")])
def test_an_objective_lists_what_decays_otherwise_than_in_its_authors_code(objective: str, words: str) -> None:
    listed = build(recipes.load("mini", [f"objective={objective}"]), seed=0).deviations
    assert any(words in deviation for deviation in listed)
