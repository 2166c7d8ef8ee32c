"""Arrow and Parquet files of Hugging Face's `datasets`: a row is an image, {bytes, path}, and its label."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.data.datasets.imagenet_files.items import UNLABELED, Located
from croco_bench.data.formats.arrays import unreadable
from croco_bench.errors import DataError
from croco_bench.files import is_of_system, parse_json

_IMAGES, _LABELS = ("image", "img", "jpg"), ("label", "labels", "cls")
# Rows that are decoded at once, and the largest group of rows that is kept in memory: images of Hugging Face's files are in
# groups of a hundred.
_ROWS, _LARGEST = 64, 1 << 30


def look_at_arrow(path: Path) -> Iterator[Located]:
    """The images of an Arrow file. Its values aren't compressed, so that their bytes are read like those of a tar.

    Raises:
        DataError: it can't be read, has other columns, or holds no bytes.
    """
    arrow = _pyarrow(path)
    with _explained(path), arrow.memory_map(str(path)) as source:
        whole = source.read_buffer()
        row = 0
        for batch in _batches(arrow, whole):
            images, labels = _columns(path, batch)
            content = _bytes_of(path, images)
            for name, label, start, size in zip(
                _names(images, path, row), labels, _starts(content), _sizes(content), strict=True
            ):
                offset = start - whole.address
                if not 0 <= offset <= whole.size - size:
                    raise DataError(f"{path} is a compressed Arrow file", "save it again without compression")
                yield Located(name, label, offset, size)
            row += len(batch)


def look_at_parquet(path: Path) -> Iterator[Located]:
    """The images of a Parquet file, located by their rows. All of it is read, as only the bytes say their number.

    Raises:
        DataError: it can't be read, has other columns, holds no bytes, or has too large groups of rows.
    """
    parquet = _parquet(path)
    with _explained(path), parquet.ParquetFile(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        if groups and max(group.total_byte_size for group in groups) > _LARGEST:
            raise DataError(
                f"{path} has groups of rows of more than 1 GB, which are too large to be read for one image",
                "write it again with groups of a hundred rows",
            )
        row = 0
        for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
            images, labels = _columns(path, batch)
            content = _bytes_of(path, images)
            for index, (name, label, size) in enumerate(
                zip(_names(images, path, row), labels, _sizes(content), strict=True)
            ):
                yield Located(name, label, row + index, size)
            row += len(batch)


def class_names(path: Path) -> list[str]:
    """The names of the classes in the order of their labels, where the file says them.

    Raises:
        DataError: the file can't be read.
    """
    arrow = _pyarrow(path)
    with _explained(path):
        if path.suffix == ".parquet":
            schema = _parquet(path).read_schema(path)
        else:
            with arrow.memory_map(str(path)) as source:
                schema = _open(arrow, source.read_buffer()).schema
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = next(features[name]["names"] for name in _LABELS if name in features)
    except (KeyError, TypeError, ValueError, StopIteration):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def parquet_image(path: Path, row: int) -> bytes:
    """The bytes of the image in a row. The groups of rows read last are kept: a group is read for every image in it.

    Raises:
        DataError: the file can't be read.
    """
    starts = _group_starts(path)
    group = int(np.searchsorted(starts, row, side="right")) - 1
    content: bytes = _group(path, group)[row - int(starts[group])].as_py()
    return content


@functools.lru_cache(maxsize=2048)
def _group_starts(path: Path) -> Any:
    """The first row of each group of a file, and the number of rows."""
    with _explained(path), _parquet(path).ParquetFile(path) as file:
        counts = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
    return np.cumsum([0, *counts])


@functools.lru_cache(maxsize=4)
def _group(path: Path, group: int) -> Any:
    """The images' bytes in a group of rows, as an array of Arrow."""
    with _explained(path), _parquet(path).ParquetFile(path) as file:
        name = next(name for name in _IMAGES if name in file.schema_arrow.names)
        table = file.read_row_group(group, columns=[name], use_threads=False)
    return _bytes_of(path, table.column(0).combine_chunks())


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"{path} is a table of images, which pyarrow reads", "install it with: pip install 'croco-bench[hf]'"
        ) from error
    return pyarrow


def _parquet(path: Path) -> Any:
    _pyarrow(path)
    import pyarrow.parquet

    return pyarrow.parquet


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors of pyarrow as a `DataError`."""
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        NotImplementedError,
    ) as error:  # pyarrow's errors are of these kinds
        reason = str(error).strip().partition("\n")[0][:200]
        if isinstance(error, OSError) and is_of_system(error):
            raise unreadable(path, error) from error
        if isinstance(error, NotImplementedError):
            raise DataError(f"{path} needs what this pyarrow can't ({reason})", "install a newer pyarrow") from error
        raise DataError(
            f"{path} is truncated, or no file of its ending ({reason})", "copy it anew from where it came"
        ) from error


def _open(arrow: Any, whole: Any) -> Any:
    """A stream of batches, as `datasets` writes, or a file of them."""
    return arrow.ipc.open_file(whole) if whole[:6].to_pybytes() == b"ARROW1" else arrow.ipc.open_stream(whole)


def _batches(arrow: Any, whole: Any) -> Iterator[Any]:
    opened = _open(arrow, whole)
    if hasattr(opened, "num_record_batches"):
        yield from (opened.get_batch(index) for index in range(opened.num_record_batches))
    else:
        yield from opened


def _columns(path: Path, batch: Any) -> tuple[Any, list[int]]:
    """The column of images, and the labels; `UNLABELED` where unknown."""
    names = batch.schema.names
    image, label = (next((name for name in known if name in names), None) for known in (_IMAGES, _LABELS))
    if image is None or label is None:
        raise DataError(
            f"{path} has the columns {', '.join(names)}", "expected image (bytes and path) and label, as ImageNet's"
        )
    labels = batch.column(label).to_pylist()
    if any(not isinstance(one, int | None) for one in labels):
        raise DataError(f"{path} should have whole numbers as labels, but has {batch.column(label).type}")
    return batch.column(image), [UNLABELED if one is None else one for one in labels]


def _bytes_of(path: Path, images: Any) -> Any:
    """The bytes of the images, (n,) of Arrow's kind binary."""
    kind = str(images.type)
    if kind.startswith("struct") and images.type.get_field_index("bytes") >= 0:
        images, kind = images.field("bytes"), str(images.field("bytes").type)
    if kind not in ("binary", "large_binary", "null"):
        raise DataError(f"{path} has images of the kind {kind}", "expected bytes, as ImageNet's tables hold")
    if images.null_count:
        raise DataError(
            f"{path} has the paths of {images.null_count} images, but not their bytes",
            "save the dataset with the images in it",
        )
    return images


def _names(images: Any, path: Path, row: int) -> list[str]:
    """The images' own file names; without one, the number of the row."""
    paths = images.field("path").to_pylist() if images.type.num_fields > 1 else [None] * len(images)
    return [name or f"{path.stem}-{row + index:06d}" for index, name in enumerate(paths)]


def _bounds(content: Any) -> Any:
    """Where each value begins in the buffer of values, and where the last ends: (n + 1,)."""
    kind = np.int64 if str(content.type) == "large_binary" else np.int32
    return np.frombuffer(content.buffers()[1], dtype=kind)[content.offset : content.offset + len(content) + 1]


def _starts(content: Any) -> list[int]:
    """Addresses of the values in memory."""
    if not len(content):
        return []
    starts: list[int] = (content.buffers()[2].address + _bounds(content)[:-1].astype(np.int64)).tolist()
    return starts


def _sizes(content: Any) -> list[int]:
    """Lengths of the values in bytes."""
    return [] if not len(content) else np.diff(_bounds(content)).tolist()
