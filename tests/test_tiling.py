from itertools import pairwise

import pytest
import torch
from torch import Tensor

from croco_bench.tiling import offsets, slide


@pytest.mark.parametrize(
    ("overlap", "rows", "columns"),
    [(0.7, 3, 7), (0.9, 5, 18), (0.99, 38, 168)],
)
def test_counts_of_the_flow_benchmark(overlap: float, rows: int, columns: int) -> None:
    """Windows of 320x384 over Sintel's 436x1024, as CroCo-Flow counts them."""
    assert (len(offsets(436, 320, overlap)), len(offsets(1024, 384, overlap))) == (rows, columns)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
@pytest.mark.parametrize(("length", "window"), [(64, 64), (85, 64), (341, 256), (1000, 7)])
def test_windows_cover_everything_evenly(length: int, window: int, overlap: float) -> None:
    places = offsets(length, window, overlap)
    assert places[0] == 0
    assert places[-1] == length - window
    steps = [after - before for before, after in pairwise(places)]
    assert all(0 < step <= (1 - overlap) * window + 1 for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


def test_no_window_more_than_needed() -> None:
    assert offsets(320, 320, 0.9) == [0]
    assert offsets(352, 320, 0.9) == [0, 32]  # 1 - 0.9 is not quite 0.1


@pytest.mark.parametrize(("window", "overlap"), [(20, 0.5), (5, 1.0), (5, -0.1)])
def test_impossible_windows_are_refused(window: int, overlap: float) -> None:
    with pytest.raises(ValueError, match="can't cover 10"):
        offsets(10, window, overlap)


def test_what_does_not_depend_on_the_window_comes_back() -> None:
    images = torch.randn(2, 3, 13, 29, dtype=torch.float64)
    seen: list[tuple[int, ...]] = []

    def network(crop: Tensor) -> Tensor:
        seen.append(tuple(crop.shape))
        return torch.cat([crop[:, :1] * 2, torch.full_like(crop[:, :1], 0.1)], dim=1)

    output = slide(network, images, (8, 12), 0.5)
    assert set(seen) == {(2, 3, 8, 12)}
    torch.testing.assert_close(output[:, 0], 2 * images[:, 0].float())
    torch.testing.assert_close(output[:, 1], torch.full((2, 13, 29), 0.1))


def test_overlaps_are_averaged() -> None:
    """Windows at 0, 2, 4 of a line of 8 predict their own number: 0, 1, 2."""
    numbers = iter([0.0, 1.0, 2.0])
    output = slide(lambda crop: torch.full_like(crop[:, :1], next(numbers)), torch.zeros(1, 3, 1, 8), (1, 4), 0.5)
    assert output.flatten().tolist() == [0, 0, 0.5, 0.5, 1.5, 1.5, 2, 2]
