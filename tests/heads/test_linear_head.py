"""The linear head: pooling, norm, initial weights."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import FitError
from croco_bench.heads.linear import Linear, LinearOptions

PLAIN = FeatureSpec((6, 6, 6), 3, 16, (48, 16))
WITH_CLS = replace(PLAIN, has_cls=True)


def features(of: FeatureSpec, images: int = 8) -> Features:
    tokens = [torch.randn(images, 3, width) for width in of.widths]
    return Features(tokens, of.grid, torch.randn(images, 6) if of.has_cls else None)


@pytest.mark.parametrize(
    ("of", "asked", "taken"),
    [
        (PLAIN, "auto", "mean"),
        (PLAIN, "mean", "mean"),
        (WITH_CLS, "auto", "cls"),
        (WITH_CLS, "cls", "cls"),
        (WITH_CLS, "mean", "mean"),
    ],
)
def test_the_pooling_taken_is_said_and_done(of: FeatureSpec, asked: str, taken: str) -> None:
    head, given = Linear(of, 4, LinearOptions(pool=asked)), features(of)  # type: ignore[arg-type]
    assert head.resolved() == {"pool": taken}
    expected = given.cls if taken == "cls" else sum(given.tokens[2][:, index] for index in range(3)) / 3
    torch.testing.assert_close(head.pooled(given, head.pooling), expected)


def test_training_norms_over_the_batch_and_evaluation_over_what_was_seen() -> None:
    torch.manual_seed(0)
    head, pooled = Linear(PLAIN, 4, LinearOptions()), torch.randn(50, 6) * 3 + 5

    def by_hand(mean: Tensor, variance: Tensor) -> Tensor:
        return (pooled - mean) / (variance + 1e-6).sqrt() @ head.linear.weight.T + head.linear.bias

    torch.testing.assert_close(head.classify(pooled), by_hand(pooled.mean(0), pooled.var(0, correction=0)))
    head.eval()
    # One step of momentum 0.1 from mean 0 and variance 1; the kept variance is the unbiased one.
    torch.testing.assert_close(head.classify(pooled), by_hand(0.1 * pooled.mean(0), 0.9 + 0.1 * pooled.var(0)))


def test_forward_is_classify_of_pool() -> None:
    head, given = Linear(WITH_CLS, 4, LinearOptions()).eval(), features(WITH_CLS)
    assert head(given).shape == (8, 4)
    assert torch.equal(head(given), head.classify(head.pooled(given, head.pooling)))
    assert torch.equal(head(given), head(given))


def test_weights_are_the_linear_layer_alone_and_start_as_those_of_mae() -> None:
    torch.manual_seed(0)
    head = Linear(FeatureSpec((768,) * 12, 12, 16, (224, 224)), 1000, LinearOptions())
    shapes = {name: tuple(parameter.shape) for name, parameter in head.named_parameters()}
    assert shapes == {"linear.weight": (1000, 768), "linear.bias": (1000,)}
    assert head.linear.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not head.linear.bias.any()


def test_every_parameter_gets_a_gradient() -> None:
    head = Linear(PLAIN, 4, LinearOptions())
    head(features(PLAIN)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())


def test_a_single_channel_is_enough() -> None:
    of = FeatureSpec((1,), 1, 16, (16, 16))
    assert Linear(of, 1, LinearOptions())(Features([torch.randn(2, 1, 1)], (1, 1))).shape == (2, 1)


def test_a_class_token_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(FitError, match=r"backbone has none; take head\.pool=mean") as caught:
        Linear(PLAIN, 4, LinearOptions(pool="cls"))
    assert "\n" not in str(caught.value)


def test_one_image_can_be_classified_but_not_trained_on() -> None:
    head, given = Linear(PLAIN, 4, LinearOptions()), features(PLAIN, images=1)
    with pytest.raises(FitError, match=r"one image at a time.*raise train\.batch_size"):
        head(given)
    assert head.eval()(given).shape == (1, 4)
