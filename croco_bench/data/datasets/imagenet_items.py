"""What a split of ImageNet consists of, be it folders or archives."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Split = Literal["train", "val"]
LINK = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
TARS: dict[Split, str] = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}


class Item(NamedTuple):
    """One image: its name, its class, and its bytes: of `file` from `offset` on, `size` of them."""

    name: str
    label: int
    file: Path
    offset: int
    size: int
