"""Segmentation by retrieval: shares of patches, the choice of patches, the nearest ones, and their classes."""

import pytest
import torch
import torch.nn.functional as F

from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import FitError
from croco_bench.heads import retrieval
from croco_bench.heads.retrieval import Retrieval, RetrievalOptions, class_shares

SPEC = FeatureSpec((8,), 1, 4, (8, 12))  # a grid of 2 x 3


def head_of(bank: int = 12, neighbours: int = 3, temperature: float = 0.1, classes: int = 3) -> Retrieval:
    return Retrieval(SPEC, classes, RetrievalOptions(bank, neighbours, temperature)).eval()


def test_shares_of_classes_are_those_of_the_pixels_and_the_unknown_are_missing() -> None:
    labels = torch.zeros(1, 8, 12, dtype=torch.int64)
    labels[0, :4, :4] = 1  # the first patch
    labels[0, :2, 4:8] = 2  # half of the second
    labels[0, 4:, 8:] = -1  # the last one
    shares = class_shares(labels, (2, 3), 3)
    assert shares.shape == (1, 6, 3)
    expected = [[0, 1, 0], [0.5, 0, 0.5], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert torch.equal(shares[0], torch.tensor(expected))


def test_a_copy_of_a_kept_patch_gets_its_class() -> None:
    torch.manual_seed(0)
    head, tokens = head_of(neighbours=1), torch.randn(6, 8)
    classes = torch.tensor([0, 1, 2, 2, 1, 0])
    head.fill(tokens, F.one_hot(classes, 3).float())
    with torch.no_grad():
        output = head(Features([3 * tokens[None]], SPEC.grid))  # lengths don't count
    centers = output[0, :, 1::4, 1::4].argmax(dim=0)
    assert output.shape == (1, 3, 8, 12) and torch.equal(centers.flatten(), classes)


def test_classes_are_weighted_by_a_softmax_of_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, tokens, shares, query = head_of(bank=40), torch.randn(40, 8), torch.rand(40, 3), torch.randn(2, 6, 8)
    head.fill(tokens, shares)
    cosines, nearest = (F.normalize(query, dim=2) @ F.normalize(tokens, dim=1).T).topk(3, dim=2)
    by_hand = ((cosines / 0.1).softmax(dim=2)[..., None] * shares[nearest]).sum(dim=2)
    expected = F.interpolate(by_hand.transpose(1, 2).view(2, 3, 2, 3), size=(8, 12), mode="bilinear")
    with torch.no_grad():
        whole = head(Features([query], SPEC.grid))
        torch.testing.assert_close(whole, expected, atol=5e-3, rtol=0)  # tokens are kept in half precision
        # In small parts, as where the bank is large.
        monkeypatch.setattr(retrieval, "_BANK", 7)
        monkeypatch.setattr(retrieval, "_QUERIES", 5)
        torch.testing.assert_close(head(Features([query], SPEC.grid)), whole)


def test_mixed_precision_does_not_touch_the_cosines() -> None:
    torch.manual_seed(0)
    head, query = head_of(bank=40, temperature=0.02), torch.randn(2, 6, 8)
    head.fill(torch.randn(40, 8), torch.rand(40, 3))
    with torch.no_grad():
        expected = head(Features([query], SPEC.grid))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = head(Features([query], SPEC.grid))
    assert torch.equal(output, expected)


def test_fewer_patches_than_neighbours_and_none() -> None:
    head = head_of(neighbours=30)
    with pytest.raises(FitError, match="bank of the retrieval head is empty"):
        head(Features([torch.randn(1, 6, 8)], SPEC.grid))
    head.fill(torch.randn(2, 8), torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]))
    with torch.no_grad():
        output = head(Features([torch.randn(1, 6, 8)], SPEC.grid))
    torch.testing.assert_close(output[:, 0], torch.ones(1, 8, 12))


def test_patches_of_rare_classes_are_kept_and_those_without_a_class_last() -> None:
    labels = torch.zeros(50, 8, 12, dtype=torch.int64)
    labels[:, :4, :4] = 1  # one patch of six
    labels[:, 4:, 8:] = -1
    tokens = torch.arange(6.0).expand(50, 8, 6).transpose(1, 2)  # each token is its number
    noise = torch.rand(50, 6, generator=torch.Generator().manual_seed(0))
    head = head_of()
    one, shares = head.sample(Features([tokens], SPEC.grid), labels, 1, noise)
    assert one.shape == (50, 8) and shares.shape == (50, 3)
    first = one[:, 0] == 0
    assert first.float().mean() > 0.4 and torch.equal(shares[:, 1] == 1, first)
    assert not (one[:, 0] == 5).any()
    every, _ = head.sample(Features([tokens], SPEC.grid), labels, 6, noise)
    assert (every[5::6, 0] == 5).all()
