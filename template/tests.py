"""The contracts of croco-bench, inherited; `pytest tests.py` after an installation."""

from pathlib import Path
from typing import ClassVar

import pytest

from croco_bench.data.miniatures.make import make_mini
from croco_bench.testing import BackboneContract, HeadContract, TaskContract


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny miniature."""
    root = tmp_path_factory.mktemp("data")
    make_mini(root, datasets=["shapes"], tiny=True, workers=1)
    return root


class TestCountShapes(TaskContract):
    """The task."""

    name = "count-shapes"


class TestTokenMLP(HeadContract):
    """The head."""

    name = "token-mlp"
    options: ClassVar = {"width": 8}


class TestMixer(BackboneContract):
    """The backbone."""

    code = "shapes-mixer"
