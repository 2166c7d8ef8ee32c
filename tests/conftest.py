"""Fixtures that several tests share, and the contract of readers."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from croco_bench.contracts import Reader
from croco_bench.data.miniatures.make import MINIATURES, make_mini
from croco_bench.errors import DataError
from croco_bench.records.schema import Result
from croco_bench.types import Sample


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the tiny miniatures; tests that change files copy them. Parallel test processes share one."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny-data"
    with FileLock(f"{root}.lock"):
        if not Path(f"{root}.whole").is_file():
            make_mini(root, datasets=MINIATURES, tiny=True, workers=2)
            Path(f"{root}.whole").touch()
    return root


@pytest.fixture
def sigint_is_obeyed() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and so would the processes that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the caller's shell says of data and caches changes no test."""
    monkeypatch.delenv("CROCO_BENCH_DATA", raising=False)
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def data_root(tiny_data: Path) -> Path:
    """The folder of datasets that the inherited contract tests ask for."""
    return tiny_data


def make_result(**changes: Any) -> Result:
    """A valid result; `changes` are dotted paths with `__`, such as `model__name="x"`."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "status": "complete",
        "task": {"name": "nyuv2-depth", "version": 1},
        "recipe": {"name": "paper", "fingerprint": "0123456789ab"},
        "model": {
            "name": "croco-v1",
            "family": "croco",
            "source": "CroCo.pth",
            "sha256": "ab" * 32,
            "parameters": 105711745,
            "binocular": False,
        },
        "dataset": {
            "name": "nyuv2",
            "split": "test",
            "images": 654,
            "images_available": 654,
            "fingerprint": "cafe",
            "miniature": False,
        },
        "protocol": {"citation": "somebody", "deviations": ["one <thing> & another"]},
        "settings": {"optim": {"lr": 1e-4}, "limit": None},
        "seed": 0,
        "metrics": {"delta1": {"value": 85.123456789012, "ci95": [84.0, 86.0], "unit": "%", "higher_is_better": True}},
        "selected": {"step": 100, "metric": "delta1", "split": "select"},
        "timing": {"train_s": 1.0, "eval_s": 1.0, "images_per_s": 10.0, "peak_memory_mb": 100.0},
        "environment": {
            "croco_bench": "0.1.0",
            "git": None,
            "dirty": None,
            "python": "3.11",
            "torch": "2.9",
            "timm": "1.0",
            "device": "cpu",
            "precision": "fp32",
            "processes": 1,
        },
        "started": datetime(2026, 1, 1, tzinfo=UTC),
        "finished": datetime(2026, 1, 1, 1, tzinfo=UTC),
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    return Result.model_validate(content)


@pytest.fixture
def result_of() -> Any:
    """`make_result`, for tests that can't import their neighbours."""
    return make_result


def flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries and tuples as one dictionary, with names such as "passes/clean/0"."""
    if isinstance(values, tuple):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return {name: values}
    return {key: value for inner in values for key, value in flat(values[inner], f"{name}/{inner}".strip("/")).items()}


def described(value: Any) -> str:
    """An array as "uint8 40 40 3", anything else as the name of its type."""
    return (
        " ".join([value.dtype.name, *map(str, value.shape)]) if isinstance(value, np.ndarray) else type(value).__name__
    )


@dataclass(frozen=True)
class ReaderContract:
    """What every reader of a dataset owes.

    `open` is called with the dataset's folder; `sample` says what each key of a sample holds: "uint8 H W 3", "str", "int", ...
    """

    open: Callable[[Path], Reader]
    sample: Mapping[str, str]

    def check(self, root: Path, dataset: str) -> None:
        """All of the contract that needs no change of files."""
        reader = self.open(root)
        self.check_items(reader, dataset)
        self.check_samples(reader)
        self.check_pickling(reader)
        assert reader.fingerprint() == self.open(root).fingerprint()

    def check_items(self, reader: Reader, dataset: str) -> None:
        """There are as many samples as it says, and as many groups; behind the last is an `IndexError`.

        A part of a release says how many the whole has.
        """
        assert isinstance(reader, Reader)
        assert reader.dataset == dataset and reader.split
        assert 0 < len(reader) == len(reader.groups) <= reader.available
        assert len(reader) == reader.available or not reader.miniature, "a miniature is whole"
        assert all(isinstance(group, str) and group for group in reader.groups)
        reader[len(reader) - 1]
        with pytest.raises(IndexError):
            reader[len(reader)]

    def check_samples(self, reader: Reader) -> None:
        """Keys, types and shapes are those of the first and the last sample; ids tell samples apart."""
        first, last = reader[0], reader[len(reader) - 1]
        for sample in (first, last):
            values = flat(sample)
            assert {key: described(value) for key, value in values.items()} == self._expected(values)
        assert len(reader) == 1 or "id" not in first or first["id"] != last["id"]

    def _expected(self, values: Mapping[str, Any]) -> dict[str, str]:
        """`sample` with sizes for letters: each stands for its first occurrence in `values`."""
        sizes: dict[str, str] = {}
        for key, text in self.sample.items():
            for letter, size in zip(text.split()[1:], getattr(values.get(key), "shape", ()), strict=False):
                sizes.setdefault(letter, letter if letter.isdecimal() else str(size))
        return {key: " ".join(sizes.get(word, word) for word in text.split()) for key, text in self.sample.items()}

    def check_pickling(self, reader: Reader) -> None:
        """A copy in another process reads the same."""
        copy = pickle.loads(pickle.dumps(reader))
        assert len(copy) == len(reader) and copy.groups == reader.groups and copy.fingerprint() == reader.fingerprint()
        assert_equal(copy[0], reader[0])

    def check_missing(self, root: Path) -> None:
        """A folder that isn't there, or holds nothing, is one sentence that says what to do."""
        with pytest.raises(DataError) as caught:
            self.open(root)
        assert str(root) in caught.value.what and caught.value.advice and "\n" not in str(caught.value)


def assert_equal(one: Sample, other: Sample) -> None:
    """Two samples hold the same."""
    first, second = flat(one), flat(other)
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


@pytest.fixture(scope="session")
def reader_contract() -> type[ReaderContract]:
    """`ReaderContract`, for tests that can't import their neighbours."""
    return ReaderContract
