"""ImageNet as Hugging Face's Parquet and Arrow files, and as WebDataset tars: equal to class folders."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from croco_bench import run
from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.imagenet import open_split
from croco_bench.data.datasets.imagenet_files.items import Split
from croco_bench.errors import DataError

SPLITS: tuple[Split, Split] = ("train", "val")
TITLES = ["ball, toy", "bed", "box"]


class Row(NamedTuple):
    """An image as Hugging Face's table of ImageNet-1K holds it."""

    path: str
    content: bytes
    label: int


@pytest.fixture
def folders(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders whose validation images have the official names."""
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    root = Path(shutil.copytree(tiny_data / "imagenet", tmp_path / "folders"))
    for number, path in enumerate(sorted((root / "val").glob("*/*"), key=lambda path: path.name[::-1]), start=1):
        path.rename(path.with_name(f"ILSVRC2012_val_{number:08d}.JPEG"))
    return root


def rows_of(folders: Path, split: str) -> list[Row]:
    """Shuffled, with the names of the table: the class stands behind the name once more."""
    classes = sorted(path.name for path in (folders / "train").iterdir())
    paths = sorted((folders / split).glob("*/*"), key=lambda path: path.name[::-1])
    return [
        Row(f"{one.stem}_{one.parent.name}.JPEG", one.read_bytes(), classes.index(one.parent.name)) for one in paths
    ]


def table_of(rows: Sequence[Row], *, titles: Sequence[str] = TITLES) -> pa.Table:
    images = pa.array([{"bytes": row.content, "path": row.path} for row in rows])
    features = {"image": {"_type": "Image"}, "label": {"names": list(titles), "_type": "ClassLabel"}}
    table = pa.table({"image": images, "label": pa.array([row.label for row in rows], pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_parquet(root: Path, split: str, rows: Sequence[Row]) -> None:
    (root / "data").mkdir(parents=True, exist_ok=True)
    name = {"train": "train", "val": "validation"}[split]
    for index in range(2):
        path = root / f"data/{name}-{index:05d}-of-00002.parquet"
        pq.write_table(table_of(rows[index::2]), path, row_group_size=5)


def write_arrow(root: Path, split: str, rows: Sequence[Row]) -> None:
    """As `DatasetDict.save_to_disk` writes, with a leftover of `map`."""
    folder = root / {"train": "train", "val": "validation"}[split]
    folder.mkdir(parents=True)
    for index in range(2):
        table = table_of(rows[index::2])
        for name in (f"data-{index:05d}-of-00002.arrow", "cache-0123456789abcdef.arrow"):
            with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=5)


def write_tars(root: Path, split: str, rows: Sequence[Row]) -> None:
    """As timm's: keys are the official names, and the class stands in the key."""
    root.mkdir(exist_ok=True)
    name = {"train": "train", "val": "validation"}[split]
    for index in range(2):
        samples = {}
        for row in rows[index::2]:
            stem, _, wnid = row.path.removesuffix(".JPEG").rpartition("_")
            samples[stem if split == "train" else f"{wnid}_{stem}"] = row
        write_tar(root / f"imagenet1k-{name}-{index:04d}.tar", samples)


def write_tar(path: Path, samples: dict[str, Row], *, labels: bool = True) -> None:
    with tarfile.open(path, "w") as archive:
        for key, row in samples.items():
            members = {"jpg": row.content, "json": json.dumps({"width": 40, "label": row.label}).encode()}
            members |= {"cls": f"{row.label}\n".encode()}
            for ending, content in (members if labels else {"jpg": row.content}).items():
                facts = tarfile.TarInfo(f"{key}.{ending}")
                facts.size = len(content)
                archive.addfile(facts, io.BytesIO(content))


Writer = Callable[[Path, str, Sequence[Row]], None]
FORMS: dict[str, Writer] = {"parquet": write_parquet, "arrow": write_arrow, "tars": write_tars}


def written(folders: Path, form: str) -> Path:
    root = folders.parent / form
    for split in SPLITS:
        FORMS[form](root, split, rows_of(folders, split))
    return root


@pytest.mark.parametrize("form", list(FORMS))
def test_samples_are_those_of_class_folders(folders: Path, form: str) -> None:
    root = written(folders, form)
    for split in SPLITS:
        theirs, ours = open_split(folders, split), open_split(root, split)
        assert ours.classes == theirs.classes and ours.groups == theirs.groups
        assert ours.fingerprint() == theirs.fingerprint()
        for index in range(len(theirs)):
            one, two = theirs[index], ours[index]
            assert (one["label"], one["id"]) == (two["label"], two["id"])
            assert np.array_equal(one["image"], two["image"])


@pytest.mark.parametrize("form", list(FORMS))
def test_the_check_says_from_what_files(folders: Path, form: str) -> None:
    root = written(folders, form)
    findings = dataset_info("imagenet").check(root)
    assert all(finding.ok for finding in findings)
    (said,) = [finding.what for finding in findings if finding.what.startswith("train: read in place")]
    first, last = (open_split(root, "train").classes[index] for index in (0, -1))
    assert "2 files such as" in said and said.endswith(f"classes {first} to {last}")


@pytest.mark.parametrize("form", list(FORMS))
def test_class_folders_can_be_made_of_every_form(folders: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written(folders, form)
    before = [open_split(root, split).fingerprint() for split in SPLITS]
    prepare = dataset_info("imagenet").preparer()
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(Path, "write_bytes", lambda *arguments: interrupt())
        prepare(root)
    assert open_split(root, "train").larger_files
    assert (
        prepare(root) == f"{root / 'unpacked'} with 36 images; the larger files aren't read any more and may be deleted"
    )
    assert [open_split(root, split).fingerprint() for split in SPLITS] == before
    assert not open_split(root, "train").larger_files
    with pytest.raises(DataError, match="are in class folders already"):
        prepare(root)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_classes_without_wordnet_ids_stay_where_they_are(folders: Path) -> None:
    root = folders.parent / "named"
    for split in SPLITS:
        write_parquet(root, split, [row._replace(path="image.jpg") for row in rows_of(folders, split)])
    with pytest.raises(DataError, match="doesn't say the WordNet ids of its classes"):
        dataset_info("imagenet").preparer()(root)


def test_the_list_of_a_file_is_kept(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written(folders, "parquet")
    before = open_split(root, "train").fingerprint()
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    assert open_split(root, "train").fingerprint() == before


def test_other_orders_of_labels_become_the_sorted_one(folders: Path) -> None:
    root = folders.parent / "turned"
    for split in SPLITS:
        write_parquet(root, split, [row._replace(label=2 - row.label) for row in rows_of(folders, split)])
    for split in SPLITS:
        assert open_split(root, split).fingerprint() == open_split(folders, split).fingerprint()


def test_splits_that_number_classes_differently_are_refused(folders: Path) -> None:
    write_parquet(folders.parent / "mixed", "train", rows_of(folders, "train"))
    turned = [row._replace(label=2 - row.label) for row in rows_of(folders, "val")]
    write_parquet(folders.parent / "mixed", "val", turned)
    with pytest.raises(DataError, match=r"has the label \d, which training images of n\d{8} have"):
        open_split(folders.parent / "mixed", "val")


def test_without_wordnet_ids_classes_have_the_names_of_the_table(folders: Path) -> None:
    root = folders.parent / "named"
    for split in SPLITS:
        write_arrow(root, split, [row._replace(path="image.jpg") for row in rows_of(folders, split)])
    reader = open_split(root, "val")
    assert reader.classes == TITLES and len(set(reader.groups)) == len(reader) == 12
    assert reader.groups[0] == "ball, toy/data-00000-of-00002-000002"
    assert [reader[index]["label"] for index in range(12)] == [0] * 4 + [1] * 4 + [2] * 4


def test_keys_that_are_numbers_may_recur_in_every_tar(folders: Path) -> None:
    root = folders.parent / "numbers"
    root.mkdir()
    for split in SPLITS:
        rows = rows_of(folders, split)
        for index in range(3):
            write_tar(root / f"{split}-{index:06d}.tar", {f"{n:06d}": row for n, row in enumerate(rows[index::3])})
    reader = open_split(root, "train")
    assert reader.classes == ["0", "1", "2"] and len(set(reader.groups)) == len(reader) == 24
    assert all(name.partition("/")[0] == str(reader[index]["label"]) for index, name in enumerate(reader.groups))


def test_one_tar_per_class_needs_no_labels(folders: Path) -> None:
    root = folders.parent / "of-classes"
    for split in SPLITS:
        (root / split).mkdir(parents=True)
        for folder in sorted((folders / split).iterdir()):
            rows = {f"{folder.name}/{path.stem}": Row("", path.read_bytes(), 0) for path in folder.iterdir()}
            write_tar(root / split / f"{folder.name}.tar", rows, labels=False)
    for split in SPLITS:
        assert open_split(root, split).fingerprint() == open_split(folders, split).fingerprint()


def test_what_has_no_class_is_named(folders: Path) -> None:
    root = written(folders, "tars")
    rows = {f"{n:06d}": row for n, row in enumerate(rows_of(folders, "val"))}
    write_tar(root / "imagenet1k-validation-0000.tar", rows, labels=False)
    with pytest.raises(DataError, match=r"000000\.jpg in .*0000\.tar has no class; expected 000000\.cls or a label"):
        open_split(root, "val")
    table = folders.parent / "test-labels"
    write_parquet(table, "train", rows_of(folders, "train"))
    write_parquet(table, "val", [Row(f"ILSVRC2012_test_{n:08d}.JPEG", b"", -1) for n in range(6)])
    with pytest.raises(
        DataError, match=r"has no label, and its name has no WordNet id; if these are ImageNet's test images"
    ):
        open_split(table, "val")
    (folders.parent / "other").mkdir()
    pq.write_table(pa.table({"a": [1]}), folders.parent / "other/train.parquet")
    pq.write_table(pa.table({"a": [1]}), folders.parent / "other/val.parquet")
    with pytest.raises(DataError, match=r"train\.parquet has the columns a; expected image .* and label"):
        open_split(folders.parent / "other", "val")


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("left", [0, 100, 0.6])
def test_a_truncated_file_is_a_sentence(folders: Path, form: str, left: float) -> None:
    root = written(folders, form)
    path = next(path for path in sorted(root.rglob("*train*")) if path.is_file()) if form != "arrow" else None
    path = path or root / "train/data-00000-of-00002.arrow"
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left < 1 else int(left)])
    with pytest.raises(DataError, match=f"{path.name} is truncated, or|{path.name} is truncated or isn't a tar"):
        open_split(root, "train")


def test_a_part_or_a_copy_is_named(folders: Path) -> None:
    root = written(folders, "parquet")
    shutil.copytree(root / "data", root / "again")
    with pytest.raises(DataError, match=r"are copies of one file; leave one of their folders only"):
        open_split(root, "train")
    shutil.rmtree(root / "again")
    for path in (root / "data").glob("validation-*"):
        path.rename(path.with_name(path.name.replace("validation", "images")))
    with pytest.raises(DataError, match=r"is of the training images, but there is no such file of the validation"):
        open_split(root, "val")
    for path in (root / "data").glob("train-*"):
        path.unlink()
    with pytest.raises(DataError, match=r"neither train/<class>/ .*images-.*parquet are read where their names"):
        open_split(root, "train")


def test_paths_without_bytes_and_compression_are_named(folders: Path) -> None:
    root = written(folders, "arrow")
    rows: list[Any] = [(row.path, None, row.label) for row in rows_of(folders, "train")]
    write_arrow_table(root / "train/data-00000-of-00002.arrow", table_of([Row(*row) for row in rows]))
    with pytest.raises(DataError, match=r"has the paths of 24 images, but not their bytes"):
        open_split(root, "train")
    write_arrow_table(root / "train/data-00000-of-00002.arrow", table_of(rows_of(folders, "train")), "zstd")
    with pytest.raises(DataError, match=r"is a compressed Arrow file; save it again without compression"):
        open_split(root, "train")


def write_arrow_table(path: Path, table: pa.Table, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)


def test_without_pyarrow_the_sentence_says_how_to_install_it(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written(folders, "parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"which pyarrow reads; install it with: pip install 'croco-bench\[hf\]'"):
        open_split(root, "train")


@pytest.mark.slow
def test_numbers_of_a_run_do_not_depend_on_the_layout(folders: Path) -> None:
    roots = {"folders": folders, **{form: written(folders, form) for form in FORMS}}
    results = []
    for form, root in roots.items():
        data_root = folders.parent / f"of-{form}"
        data_root.mkdir()
        root.rename(data_root / "imagenet")
        options: dict[str, Any] = {"data_root": data_root, "results": folders.parent / f"by-{form}"}
        results.append(run("imagenet-linear", "random:mini-mae", recipe="smoke", device="cpu", **options))
    first = results[0]
    assert first is not None
    for other in results[1:]:
        assert other is not None and other.metrics == first.metrics
        assert other.dataset.fingerprint == first.dataset.fingerprint
