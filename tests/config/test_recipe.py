"""Recipes: files, changes, options, errors, fingerprints."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from croco_bench.config.load import options_of
from croco_bench.config.recipe import fingerprint, load_recipe, names_of, resolve
from croco_bench.config.tables import MOST_WORKERS
from croco_bench.errors import UsageError
from croco_bench.pretraining import recipe as pretraining

TASK = "nyuv2-depth"


@dataclass(frozen=True)
class Options:
    loss: str = "l1"
    weight: float = 1.0
    hooks: tuple[int, ...] | None = None
    extra: bool = field(default=False, metadata={"affects_score": False})


def settings(*changes: str) -> dict[str, object]:
    return resolve(load_recipe(TASK, "paper", changes), Options(), Options())


def test_every_recipe_of_the_task_loads() -> None:
    assert {"mini", "paper", "smoke", "dpt-frozen"} <= set(names_of(TASK))  # the fingerprints list them all
    for name in names_of(TASK):
        recipe = load_recipe(TASK, name)
        assert (recipe.task_name, recipe.name) == (TASK, name)
        assert recipe.protocol.citation


def test_set_is_parsed_by_type() -> None:
    recipe = load_recipe(TASK, "paper", ["optim.lr=3e-4", "train.image_size=224", "head=linear", "train.steps=7"])
    assert recipe.optim.lr == 3e-4
    assert recipe.train.image_size == (224, 224)
    assert (recipe.head.name, recipe.head.options) == ("linear", {})
    assert (recipe.train.steps, recipe.train.epochs) == (7, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("optim.lrr=1", "did you mean optim.lr"),
        ("optim.lr=fast", "optim.lr"),
        ("train.batch_size=0", "train.batch_size"),
        ("optim.lr=nan", "optim.lr"),
        ("optim.lr", "isn't KEY=VALUE"),
        ("a.b.c=1", "isn't KEY=VALUE"),
        ("summary.x=1", "no keys of its own"),
        ("train.precision=fp8", "train.precision"),
    ],
)
def test_wrong_changes_are_one_sentence(change: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe(TASK, "paper", [change])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_get_suggestions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean paper"):
        load_recipe(TASK, "papper")
    with pytest.raises(UsageError, match="did you mean nyuv2-depth"):
        load_recipe("nyu-depth", "paper")
    with pytest.raises(UsageError, match="no recipe file"):
        load_recipe(TASK, str(tmp_path / "gone.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[head\n")
    with pytest.raises(UsageError, match="can't be read as TOML"):
        load_recipe(TASK, str(broken))


def test_options_are_typed_and_closed() -> None:
    assert options_of(Options, {"weight": 2, "hooks": [1, 2]}, "x") == Options(weight=2.0, hooks=(1, 2))
    with pytest.raises(UsageError, match="did you mean weight"):
        options_of(Options, {"wieght": 2}, "x")
    with pytest.raises(UsageError, match="weight"):
        options_of(Options, {"weight": "heavy"}, "x")


def test_the_fingerprint_sees_science_only() -> None:
    base = fingerprint(settings(), Options())
    assert len(base) == 12
    unscientific = settings("train.workers=0", "train.save_seconds=5", "train.tracker=tensorboard")
    assert fingerprint(unscientific, Options()) == base
    assert fingerprint(settings("optim.lr=2e-4"), Options()) != base
    assert fingerprint(settings("train.precision=bf16"), Options()) != base
    assert fingerprint(settings("train.precision=tf32"), Options()) != base
    assert fingerprint(settings("train.checkpointing=true"), Options()) == base
    assert fingerprint(settings("train.channels_last=true"), Options()) != base
    assert fingerprint(settings("train.compile=all"), Options()) != base
    assert fingerprint(settings("train.compile=off"), Options()) == base
    assert fingerprint(settings("train.labels=0.1"), Options()) != base
    assert fingerprint(settings("train.labels=1"), Options()) == base
    for options, same in ((Options(loss="l2"), False), (Options(extra=True), True)):
        changed = resolve(load_recipe(TASK, "paper"), options, Options())
        assert (fingerprint(changed, options) == base) == same


def test_settings_that_came_later_are_written_only_where_they_are_set() -> None:
    changes = ("train.channels_last=true", "train.checkpointing=true")
    plain, changed = (settings(*made)["train"] for made in ((), changes))
    assert isinstance(plain, dict) and isinstance(changed, dict)
    assert set(changed) - set(plain) == {"channels_last", "checkpointing"}
    assert changed["channels_last"] is changed["checkpointing"] is True


def test_as_many_workers_as_the_machine_allows() -> None:
    assert load_recipe(TASK, "paper", ["train.workers=auto"]).train.workers == MOST_WORKERS


def test_the_last_of_several_changes_counts() -> None:
    recipe = load_recipe(
        TASK, "paper", ["train.epochs=3", "train.steps=7", "optim.lr=1", "train.epochs=5", "optim.lr=2"]
    )
    assert (recipe.train.epochs, recipe.train.steps, recipe.optim.lr) == (5, None, 2)


def test_named_settings_are_values_and_replace_changes() -> None:
    """A value isn't parsed: any folder name is possible."""
    folders = ['with "quotes" = [and] \\ more', "3"]
    changes = ["data.pairs=['other']", "objective=mae", "decoder=cross"]
    recipe = pretraining.load("mini", changes, pairs=folders, objective="croco", decoder="cat")
    assert recipe.data.pairs == tuple(folders)
    assert (recipe.objective, recipe.decoder) == ("croco", "cat")
    recipe = pretraining.load("mini", pairs=folders[:1], objective="multimae")
    assert recipe.data.modalities == folders[0]
    assert recipe.data.pairs == pretraining.load("mini").data.pairs


@pytest.mark.parametrize("objective", ["mae", "multimae"])
def test_rotary_positions_are_refused_where_the_objective_has_none(objective: str) -> None:
    """The network would have absolute ones in silence."""
    for change in ("model.positions = rope", 'model.positions="rope"'):
        with pytest.raises(UsageError, match=f"{objective} has absolute positions"):
            pretraining.load("mini", [change], objective=objective)
    last = ["model.positions=rope", "model.positions=cosine"]
    for changes in ([], ["model.positions=cosine"], ["model.width=64"], last):
        assert pretraining.load("mini", changes, objective=objective).objective == objective


@pytest.mark.parametrize(
    ("objective", "change"),
    [
        ("croco", "mae.mask_ratio=0.5"),
        ("croco", "own.mask_ratio=0.5"),
        ("croco", "data.flip=0.5"),
        ("mae", "croco.mask_ratio = 0.5"),
        ("mae", "data.modalities=folder"),
        ("multimae", "croco={mask_ratio = 0.5}"),
        ("multimae", "model.decoder_depth=1"),
        ("multimae", "data.color=0"),
    ],
)
def test_a_change_of_which_the_objective_takes_no_notice_is_refused(objective: str, change: str) -> None:
    key = change.partition("=")[0].strip()
    with pytest.raises(UsageError, match=rf"the {objective} objective takes no notice of {key}"):
        pretraining.load("mini", [change], objective=objective)


def test_what_the_objective_reads_may_be_changed() -> None:
    for objective in ("croco", "mae"):
        recipe = pretraining.load("mini", [f"{objective}.mask_ratio=0.5", "data.color=0"], objective=objective)
        assert recipe.options["mask_ratio"] == 0.5
    recipe = pretraining.load("mini", ["multimae.visible=8", "data.flip=0.5", "data.holdout=2"], objective="multimae")
    assert (recipe.options["visible"], recipe.data.flip) == (8, 0.5)


def test_weights_go_with_the_pairs_that_are_named() -> None:
    assert pretraining.load("mini", ["data.weights=[1, 2]"], pairs=["a", "b"]).data.weights == (1.0, 2.0)
    with pytest.raises(UsageError, match=r"data\.weights has 2 numbers for 1 sets of pairs"):
        pretraining.load("mini", ["data.weights=[1, 2]"])
