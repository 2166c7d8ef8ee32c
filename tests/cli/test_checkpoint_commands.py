"""What the commands about one checkpoint say of a wrong command line."""

from pathlib import Path

import pytest

from croco_bench.cli.models import models
from croco_bench.errors import DataError, UsageError
from croco_bench.pretraining.complete import complete


def test_an_image_without_a_checkpoint_is_not_ignored() -> None:
    with pytest.raises(UsageError, match="belong to --try"):
        models(image=Path("x.png"))


def test_an_image_that_is_not_there_is_no_incomplete_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no image .*a\.png; check the path"):
        complete((tmp_path / "a.png", tmp_path / "b.png"), "random:mini-croco", tmp_path / "out.png")
