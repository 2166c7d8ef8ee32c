"""How often `croco-bench compare` finds a difference where there is none.

    python benchmarks/false_positives.py [--pairs 10000] [--bootstraps 1000]

Pairs of backbones are simulated that are equally good: every seed's value on every image is drawn from the model that
`croco_bench.tables.comparison.variance` describes, at sizes of real test sets, with more or less spread between seeds. Printed is
the share of pairs, in percent, whose difference is called significant at 5 %, by three methods:

    compare     what the command does
    bootstrap   percentiles of the hierarchical bootstrap over seeds and scenes
    images      a paired t-test over images, which knows neither scenes nor seeds

The second table breaks the assumptions on purpose. The third has methods that are equally good, of which each pre-training ends
elsewhere. One core needs about a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr

from croco_bench.tables.comparison.difference import paired_difference
from croco_bench.tables.comparison.leave_one_out import MAX_BLOCKS
from croco_bench.tables.comparison.resampling import draw_blocks, draw_mean
from croco_bench.tables.comparison.scores import SeedScores
from croco_bench.tables.comparison.variance import components, p_values
from croco_bench.types import Array

LEVEL = 0.05
CHUNK = 250  # pairs in memory at once


@dataclass(frozen=True)
class Case:
    """Two equally good backbones.

    Attributes:
        images: in the test set.
        scenes: the images are spread over them unevenly; 0: each image stands alone.
        seeds: of the first and the second backbone.
        seed_share: of the variance of the difference, how much comes from seeds.
        tails: of effects of scenes and images; normal, or exponential (skewed) ones.
        ratio: standard deviation of the first backbone's seeds, in units of the second's.
        shared: correlation of equal seeds of the two backbones.
    """

    images: int
    scenes: int
    seeds: tuple[int, int]
    seed_share: float
    tails: str = "normal"
    ratio: float = 1.0
    shared: float = 0.0

    def __str__(self) -> str:
        where = f"{self.images} images" + (f" in {self.scenes} scenes" if self.scenes else "")
        seeds = " and ".join(str(count) for count in dict.fromkeys(self.seeds))
        return f"{where}, {seeds} seeds"


# Relative to the rest of one seed on one image, as results on the miniature have them (0.3 to 6 for images).
IMAGE_SD, SCENE_SD = 1.0, 0.5


def scene_of_images(case: Case) -> Array:
    """The scene of each image (n,); the longest has about twice as many images as the shortest."""
    if not case.scenes:
        return np.arange(case.images)
    ends = np.cumsum(np.linspace(2, 4, case.scenes))
    return np.searchsorted(ends / ends[-1], (np.arange(case.images) + 0.5) / case.images)


def simulate(case: Case, pairs: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Values per image of both backbones, (pairs, seeds, n) each. What images have in common for both cancels: left out."""
    scene = scene_of_images(case)
    shares = np.bincount(scene) / case.images
    scene_sd = SCENE_SD if case.scenes else 0.0
    of_images = scene_sd**2 * np.square(shares).sum() + IMAGE_SD**2 / case.images
    total = 2 * of_images + sum(1 / count for count in case.seeds) / case.images
    variance = case.seed_share / (1 - case.seed_share) * total / sum(1 / count for count in case.seeds)
    scale = np.sqrt(2 * variance / (1 + case.ratio**2))
    common = rng.standard_normal((pairs, max(case.seeds), 1))
    found = []
    for count, ratio in zip(case.seeds, (case.ratio, 1.0), strict=True):
        seeds = np.sqrt(case.shared) * common[:, :count] + np.sqrt(1 - case.shared) * rng.standard_normal(
            (pairs, count, 1)
        )
        scenes = scene_sd * _effects(case.tails, (pairs, 1, len(shares)), rng)[..., scene]
        images = IMAGE_SD * _effects(case.tails, (pairs, 1, case.images), rng)
        found.append(ratio * scale * seeds + scenes + images + rng.standard_normal((pairs, count, case.images)))
    return found[0], found[1]


def _effects(tails: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.standard_normal(shape) if tails == "normal" else rng.standard_exponential(shape) - 1


def pseudo_values(values: Array, blocks: Array) -> Array:
    """Those of the mean over images, (..., n) -> (..., blocks), for many runs at once."""
    order, sizes = np.argsort(blocks, kind="stable"), np.bincount(blocks)
    sums = np.add.reduceat(values[..., order], np.cumsum(sizes) - sizes, axis=-1)
    whole, count = values.sum(axis=-1, keepdims=True), len(sizes)
    return np.asarray(count * whole / sizes.sum() - (count - 1) * (whole - sums) / (sizes.sum() - sizes))


def chunks(case: Case, pairs: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """`simulate` in parts."""
    for start in range(0, pairs, CHUNK):
        yield simulate(case, min(CHUNK, pairs - start), rng)


def rates(case: Case, pairs: int, bootstraps: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of false positives of each method, in percent; the bootstrap is tried on the first `bootstraps` pairs."""
    first = SeedScores.of_values("", np.zeros((1, case.images)), groups=[str(scene) for scene in scene_of_images(case)])
    blocks = first.blocks
    positive: dict[str, list[Array]] = {"compare": [], "bootstrap": [], "images": []}
    done = 0
    for one, two in chunks(case, pairs, rng):
        if not done:
            _check_against_the_command(case, one[0], two[0], blocks)
        parts = [pseudo_values(values, blocks) for values in (one, two)]
        difference = one.mean(axis=(1, 2)) - two.mean(axis=(1, 2))
        positive["compare"].append(p_values(difference, components(parts)) < LEVEL)
        positive["images"].append(_paired_t(one.mean(axis=1) - two.mean(axis=1)) < LEVEL)
        if done < bootstraps:
            positive["bootstrap"].append(_bootstrap(parts[0], parts[1], rng))
        done += len(one)
    return {method: 100 * float(np.concatenate(found).mean()) for method, found in positive.items() if found}


def _check_against_the_command(case: Case, one: Array, two: Array, blocks: Array) -> None:
    """The short way for many pairs gives what `paired_difference` gives for one."""
    groups = [str(scene) for scene in scene_of_images(case)]
    slow = paired_difference(
        SeedScores.of_values("a", one, groups=groups), SeedScores.of_values("b", two, groups=groups), resamples=0
    )
    parts = [pseudo_values(values, blocks) for values in (one, two)]
    assert np.isclose(slow.p_value, p_values(one.mean() - two.mean(), components(parts)))


def _paired_t(differences: Array) -> Array:
    """P-values of differences (pairs, n)."""
    count = differences.shape[-1]
    error = differences.std(axis=-1, ddof=1) / np.sqrt(count)
    return np.asarray(2 * stdtr(count - 1, -np.abs(differences.mean(axis=-1)) / error))


def _bootstrap(one: Array, two: Array, rng: np.random.Generator, resamples: int = 1000) -> Array:
    """Whether the percentile interval of each pair leaves zero out; the draws of scenes serve all pairs of a chunk."""
    blocks = draw_blocks(one.shape[-1], resamples, rng)
    outside = []
    for first, second in zip(one, two, strict=True):
        means = draw_mean(first, blocks, rng) - draw_mean(second, blocks, rng)
        low, high = np.quantile(means, (LEVEL / 2, 1 - LEVEL / 2))
        outside.append(low > 0 or high < 0)
    return np.array(outside)


@dataclass(frozen=True)
class MethodCase:
    """Two equally good methods on 240 images in 12 scenes.

    Attributes:
        pretrainings: of each method.
        seeds: of fine-tuning, of each pre-training.
        ratio: standard deviation of pre-trainings, in units of that of seeds, which is half the one of scenes.
    """

    pretrainings: int
    seeds: int
    ratio: float


def method_rates(case: MethodCase, pairs: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of false positives, in percent, of the claim that one method is better than the other.

    `methods` takes pre-trainings as `compare` does; `pooled` takes every run for a seed of one backbone; `files` has one
    pre-training of each method with its seeds.
    """
    images = Case(240, 12, (1, 1), 0)
    blocks = SeedScores.of_values(
        "", np.zeros((1, 240)), groups=[str(scene) for scene in scene_of_images(images)]
    ).blocks
    positive: dict[str, list[Array]] = {"methods": [], "pooled": [], "files": []}
    for start in range(0, pairs, CHUNK):
        count = min(CHUNK, pairs - start)
        parts = [pseudo_values(_method_values(case, images, count, rng), blocks) for _ in range(2)]
        views = {
            "methods": [one.mean(axis=2) for one in parts],
            "pooled": [one.reshape(count, -1, one.shape[-1]) for one in parts],
            "files": [one[:, 0] for one in parts],
        }
        for name, (first, second) in views.items():
            difference = first.mean(axis=(1, 2)) - second.mean(axis=(1, 2))
            positive[name].append(p_values(difference, components([first, second])) < LEVEL)
    return {name: 100 * float(np.concatenate(found).mean()) for name, found in positive.items()}


def _method_values(case: MethodCase, images: Case, pairs: int, rng: np.random.Generator) -> Array:
    """Values per image of one method (pairs, pre-trainings, seeds, n)."""
    scene, runs, seed_sd = scene_of_images(images), (pairs, case.pretrainings, case.seeds), SCENE_SD / 2
    common = SCENE_SD * rng.standard_normal((pairs, 1, 1, images.scenes))[..., scene]
    luck = case.ratio * seed_sd * rng.standard_normal((pairs, case.pretrainings, 1, 1))
    seeds = seed_sd * rng.standard_normal((*runs, 1))
    own = IMAGE_SD * rng.standard_normal((pairs, 1, 1, images.images))
    return np.asarray(common + luck + seeds + own + rng.standard_normal((*runs, images.images)))


METHODS = [
    MethodCase(pretrainings, seeds, ratio)
    for pretrainings, seeds in ((3, 1), (3, 3), (5, 1), (5, 3))
    for ratio in (0.0, 1.0, 3.0)
]
SIZES = (
    *(Case(654, 0, (seeds, seeds), 0) for seeds in (3, 5)),
    *(Case(240, scenes, (seeds, seeds), 0) for scenes in (8, 12) for seeds in (2, 3)),
    *(Case(60, 0, (seeds, seeds), 0) for seeds in (2, 3)),
)
SHARES = (0.0, 0.2, 0.5, 0.8, 0.95)
_DEPTH, _FLOW = Case(654, 0, (3, 3), 0.5), Case(240, 12, (2, 2), 0.5)
BROKEN = {
    "654 images, 3 seeds; effects of images are skewed": replace(_DEPTH, tails="exponential"),
    "240 images in 12 scenes, 2 seeds; effects of images and scenes are skewed": replace(_FLOW, tails="exponential"),
    "654 images, 3 seeds; half of a seed's effect is the same for both backbones": replace(_DEPTH, shared=0.5),
    "654 images, 3 seeds; seeds of one backbone scatter 3 times as much": replace(_DEPTH, ratio=3.0),
    "the same, and seeds make 95 % of the variance": replace(_DEPTH, ratio=3.0, seed_share=0.95),
    "240 images in 12 scenes, 2 seeds; seeds of one backbone scatter 3 times as much": replace(_FLOW, ratio=3.0),
    "the same, seeds make 95 % of the variance": replace(_FLOW, ratio=3.0, seed_share=0.95),
    "240 images in 5 scenes, 3 seeds": replace(_FLOW, scenes=5, seeds=(3, 3)),
    "240 images in 5 scenes, 3 seeds; seeds make no difference": replace(_FLOW, scenes=5, seeds=(3, 3), seed_share=0.0),
    "654 images, 5 seeds against 1": replace(_DEPTH, seeds=(5, 1)),
    "654 images, 1 seed each; seeds make no difference": replace(_DEPTH, seeds=(1, 1), seed_share=0.0),
    "654 images, 1 seed each": replace(_DEPTH, seeds=(1, 1)),
}


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000, help="simulated pairs of backbones per case")
    parser.add_argument("--bootstraps", type=int, default=1000, help="pairs per case that are bootstrapped as well")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    error = 100 * np.sqrt(LEVEL * (1 - LEVEL) / given.pairs)
    print(f"false positives at {100 * LEVEL:g} %, of {given.pairs} pairs (standard error {error:.2f})")
    print(f"blocks of images: at most {MAX_BLOCKS}\n")
    heads = " ".join(f"{f'{100 * share:.0f} %':>21}" for share in SHARES)
    print(f"{'share of seeds in the variance':<36}{heads}")
    print(f"{'':<36}" + " ".join(f"{'compare  boot. images':>21}" for _ in SHARES))
    for size in SIZES:
        found = [rates(replace(size, seed_share=share), given.pairs, given.bootstraps, rng) for share in SHARES]
        cells = " ".join(f"{one['compare']:7.1f}{one['bootstrap']:7.1f}{one['images']:7.1f}" for one in found)
        print(f"{size!s:<36}{cells}", flush=True)
    print("\nassumptions broken, few scenes, one seed; seeds make half of the variance unless said\n")
    for name, case in BROKEN.items():
        one = rates(case, given.pairs, given.bootstraps, rng)
        print(f"{name:<86}{one['compare']:7.1f}{one['bootstrap']:7.1f}{one['images']:7.1f}", flush=True)
    print("\nmethods: 240 images in 12 scenes\n")
    print(
        f"{'pre-trainings':<15}{'seeds of each':<15}{'their scatter, of seeds':<25}{'methods':>8}{'pooled':>8}{'files':>8}"
    )
    rng = np.random.default_rng(given.seed)
    for method in METHODS:
        rate = method_rates(method, given.pairs, rng)
        shown = "".join(f"{rate[name]:8.1f}" for name in ("methods", "pooled", "files"))
        print(f"{method.pretrainings:<15}{method.seeds:<15}{method.ratio:<25g}{shown}", flush=True)


if __name__ == "__main__":
    main()
