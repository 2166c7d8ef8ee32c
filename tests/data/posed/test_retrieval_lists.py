"""Retrieval lists of 7-Scenes: hloc's, Reloc3r's, and those made here."""

import io
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from croco_bench.backbones import load_backbone
from croco_bench.cli.data import data_prepare
from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.posed.retrieval_lists import HLOC, RELOC3R, find_lists
from croco_bench.data.posed.sequences import seven_scenes_intrinsics
from croco_bench.errors import BenchError, DataError, UsageError
from croco_bench.types import Array
from croco_bench.workflows import prepare_retrieval

DATABASE, QUERIES = ("seq-01", "seq-02"), "seq-03"


def frame(sequence: str, number: int) -> str:
    return f"{sequence}/frame-{number:06d}.color.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two scenes with two training sequences and one for testing, of four frames each; noise by name."""
    for scene in ("red", "redkitchen"):
        for sequence in (*DATABASE, QUERIES):
            folder = tmp_path / "7scenes" / scene / sequence
            folder.mkdir(parents=True)
            for number in range(4):
                seed = [len(scene), int(sequence[-1]), number]
                image = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f"frame-{number:06d}.color.png"), image)
                cv2.imwrite(str(folder / f"frame-{number:06d}.depth.png"), np.full((24, 32), 2000, np.uint16))
                pose = np.eye(4)
                pose[:3, 3] = seed
                np.savetxt(folder / f"frame-{number:06d}.pose.txt", pose)
        (folder.parent / "TrainSplit.txt").write_text("sequence1\nsequence2\n")
        (folder.parent / "TestSplit.txt").write_text("sequence3\n")
    return tmp_path / "7scenes"


def listed(scene: str) -> list[tuple[str, str]]:
    """Every query with all eight training frames, in an order of its own."""
    names = [frame(sequence, number) for sequence in DATABASE for number in range(4)]
    pairs = []
    for number in range(4):
        order = np.random.default_rng([len(scene), number]).permutation(8)
        pairs += [(frame(QUERIES, number), names[index]) for index in order]
    return pairs


def write_hloc(root: Path, lines: dict[str, list[tuple[str, str]]] | None = None) -> Path:
    folder = root / HLOC
    folder.mkdir()
    for scene in ("red", "redkitchen"):
        pairs = (lines or {}).get(scene, listed(scene))
        (folder / f"{scene}_top10.txt").write_bytes("\n".join(f"{one} {two}" for one, two in pairs).encode())
    return folder


def objects(scene: str, root: str = "./data/7scenes") -> Array:
    """What Reloc3r passes to `numpy.save`: a list per query of dicts."""
    found: list[list[dict[str, str | int]]] = [[] for _ in range(4)]
    for one, two in listed(scene):
        number = int(one[-11])
        path = f"{root}/{scene}/"
        found[number].append({"query_path": path + one, "db_path": path + two, "query_idx": number, "db_idx": 0})
    return np.array(found)


def write_reloc3r(root: Path) -> Path:
    folder = root / RELOC3R
    folder.mkdir()
    for scene in ("red", "redkitchen"):
        np.save(folder / f"{scene}_q-retrieval_db-step=1_topk=8.npy", objects(scene), allow_pickle=True)
    return folder


def by_old_numpy(array: Array) -> bytes:
    """As numpy 1 saved it: modules were called otherwise, and the pickle was of protocol 3."""
    stream = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + pickle.dumps(array, protocol=3).replace(b"numpy._core.", b"numpy.core.")


@pytest.mark.parametrize("write", [write_hloc, write_reloc3r])
def test_queries_have_the_first_of_their_lists(root: Path, write: Callable[[Path], Path]) -> None:
    write(root)
    reader = open_seven_scenes(root).queries(neighbours=3)
    assert len(reader) == 8 and (reader.dataset, reader.split) == ("7scenes", "test")
    assert reader.groups == ["red"] * 4 + ["redkitchen"] * 4 and reader.scenes == ("red", "redkitchen")
    for index in range(8):
        sample, scene = reader[index], reader.groups[index]
        query = frame(QUERIES, index % 4)
        chosen = [two for one, two in listed(scene) if one == query][:3]
        assert sample["id"] == f"{scene}/{query}" and sample["scene"] == scene
        assert np.array_equal(sample["image2"], read_rgb(root / scene / query))
        assert np.array_equal(sample["image1"], [read_rgb(root / scene / name) for name in chosen])
        centers = [[len(scene), int(name[5]), int(name[-11])] for name in chosen]
        assert sample["cam2world1"][:, :3, 3].tolist() == centers
        assert np.array_equal(sample["relative"], np.linalg.inv(sample["cam2world1"]) @ sample["cam2world2"])
        assert sample["relative"][0, :3, 3].tolist() == [0, 3 - centers[0][1], index % 4 - centers[0][2]]
        assert np.array_equal(sample["K1"], [seven_scenes_intrinsics((24, 32))] * 3) and sample["K2"].shape == (3, 3)
    assert "the first 3 of" in reader.notes[0] and ("hloc" in reader.notes[0]) == (write is write_hloc)
    assert reader.fingerprint() != open_seven_scenes(root).queries(neighbours=2).fingerprint()


def test_which_lists_are_taken(root: Path) -> None:
    with pytest.raises(DataError, match="holds no retrieval lists, which say what to compare test images with"):
        find_lists(root)
    for name in ("retrieval-a", "retrieval-b"):
        (root / name).mkdir()
    with pytest.raises(UsageError, match="several retrieval lists: retrieval-a, retrieval-b; name one"):
        find_lists(root)
    assert find_lists(root, "retrieval-b").folder == root / "retrieval-b"
    assert find_lists(root, str(write_reloc3r(root))).maker == find_lists(root).maker == "NetVLAD, Reloc3r's lists"
    write_hloc(root)
    assert find_lists(root).maker == "DenseVLAD, hloc's lists"
    with pytest.raises(DataError, match=r"there is no folder .*nowhere with retrieval lists"):
        find_lists(root, "nowhere")
    (root / "retrieval-a/retrieval.json").write_text("{}")
    with pytest.raises(DataError, match=r"retrieval\.json should say who made the lists"):
        find_lists(root, "retrieval-a")


def test_plain_lists_are_hlocs_with_paths_of_any_length(root: Path) -> None:
    lines = {"red": [(f"/data/7scenes/red/{one}", f"red/{two}") for one, two in listed("red")]}
    first = (folder := write_hloc(root, lines)).joinpath("red_top10.txt")
    first.write_text(f"# query database\n\n{first.read_text()}\n")
    first.rename(folder / "red.pairs.txt")
    found = find_lists(root).of("red")
    assert found == {query: tuple(two for one, two in listed("red") if one == query) for query in found}
    assert len(found) == 4 and find_lists(root).of("redkitchen").keys() == found.keys()


def test_lists_of_old_numpy(root: Path) -> None:
    folder = write_reloc3r(root)
    new = find_lists(root).of("red")
    content = by_old_numpy(objects("red"))
    assert b"numpy.core.multiarray" in content and b"numpy._core" not in content
    (folder / "red_q-retrieval_db-step=1_topk=8.npy").write_bytes(content)
    assert find_lists(root).of("red") == new


class Burglar:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_list_is_run(root: Path, tmp_path: Path) -> None:
    path = write_reloc3r(root) / "red_q-retrieval_db-step=1_topk=8.npy"
    np.save(path, np.array([[Burglar(tmp_path / "been-here")]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"wants to run code on loading \(.*\), which is refused"):
        find_lists(root).of("red")
    assert not (tmp_path / "been-here").exists()


def overwrite(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        overwrite(b""),
        overwrite(b"\x93NUMPY\x01\x00"),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: np.save(path, np.zeros(3)),
        lambda path: np.save(path, np.array([[{"query": "a"}]], dtype=object), allow_pickle=True),
        lambda path: np.save(path, np.array([[1, "a"]], dtype=object), allow_pickle=True),
    ],
)
def test_damaged_arrays_are_one_sentence(root: Path, damage: Callable[[Path], object]) -> None:
    damage(write_reloc3r(root) / "red_q-retrieval_db-step=1_topk=8.npy")
    with pytest.raises(DataError, match="should hold an array of dicts with query_path and db_path") as error:
        open_seven_scenes(root).queries(neighbours=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pairs: pairs[:-1], f"has 7 images for {frame(QUERIES, 3)}, but 8 are wanted (1 of 4 test frames lack"),
        (lambda pairs: pairs[8:], f"has 0 images for {frame(QUERIES, 0)}, but 8 are wanted"),
        (lambda pairs: [*pairs[1:], pairs[1]], "has 7 images for"),
        (
            lambda pairs: [(pairs[0][0], frame(QUERIES, 1)), *pairs],
            f"gives {frame(QUERIES, 1)} for {frame(QUERIES, 0)}, which is itself a test frame",
        ),
        (lambda pairs: [(pairs[0][0], frame("seq-01", 9)), *pairs], "which is no training frame on disk"),
        (lambda pairs: [(frame(QUERIES, 9), pairs[0][1]), *pairs], "as a query, which is no test frame on disk"),
        (lambda pairs: [("frame-000000.color.png", pairs[0][1]), *pairs], "which is no image of red, such as seq-01/"),
        (lambda pairs: [(f"chess/{pairs[0][0]}", pairs[0][1]), *pairs], "which is no image of red, such as seq-01/"),
        (lambda pairs: [*pairs, ("one", "two three")], "line 33: expected two paths, query and database"),
    ],
)
def test_lists_that_do_not_fit_are_one_sentence(
    root: Path, change: Callable[[list[tuple[str, str]]], list[tuple[str, str]]], words: str
) -> None:
    write_hloc(root, {"red": change(listed("red"))})
    with pytest.raises(DataError) as error:
        open_seven_scenes(root).queries(neighbours=8)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_missing_lists_and_frames(root: Path) -> None:
    folder = write_hloc(root)
    scenes = open_seven_scenes(root)
    with pytest.raises(UsageError, match="0 neighbours per query"):
        scenes.queries(neighbours=0)
    (folder / "red_top10.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"red_top10\.txt can't be read as text"):
        scenes.queries(neighbours=1)
    (folder / "red_other.npy").touch()
    with pytest.raises(DataError, match=r"but holds red_other\.npy and red_top10\.txt"):
        scenes.queries(neighbours=1)
    for path in folder.glob("red_*"):
        path.unlink()
    with pytest.raises(DataError, match=r"should hold one retrieval list of red, .* but holds none"):
        scenes.queries(neighbours=1)
    for scene in ("red", "redkitchen"):
        (root / scene / "TestSplit.txt").unlink()
    with pytest.raises(DataError, match="has no test frames"):
        open_seven_scenes(root).queries(neighbours=1)


def test_lists_made_with_a_backbone_name_the_most_alike(root: Path) -> None:
    """Copies of training images stand where test images were: they are found."""
    for number in range(4):
        source = root / "red" / frame(DATABASE[number % 2], 3 - number)
        (root / "red" / frame(QUERIES, number)).write_bytes(source.read_bytes())
    made = prepare_retrieval.list_seven_scenes(root, "random:mini-mae", "cpu", side=32, batch_size=3)
    assert made.endswith("retrieval-random-mini-mae with lists of 2 scenes")
    reader = open_seven_scenes(root).queries(neighbours=8)
    assert "random-mini-mae (random:mini-mae): cosine of its mean last tokens at 32x32" in reader.notes[0]
    for number in range(4):
        assert reader.views.names[reader.references[number, 0]] == f"red/{frame(DATABASE[number % 2], 3 - number)}"
    assert {path.name for path in (root / "retrieval-random-mini-mae").iterdir()} == {
        *("red_top10.txt", "redkitchen_top10.txt", "retrieval.json")
    }
    with pytest.raises(DataError, match="is there already; delete it to make the lists again"):
        prepare_retrieval.list_seven_scenes(root, "random:mini-mae", "cpu", side=32)


def test_an_interrupted_preparation_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare_retrieval.list_seven_scenes(root, "random:mini-mae", "cpu", side=32).split()[0]
    expected = {path.name: path.read_bytes() for path in Path(whole).iterdir()}
    Path(whole).rename(root / "old")
    described, allowed = list[int](), [3]
    vectors = prepare_retrieval.global_descriptors

    def counted(images: list[Array], backbone: Any) -> Array:
        if len(described) == allowed[0]:
            raise KeyboardInterrupt
        described.append(len(images))
        return vectors(images, backbone)

    monkeypatch.setattr(prepare_retrieval, "global_descriptors", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare_retrieval.list_seven_scenes(root, "random:mini-mae", "cpu", side=32)
    with pytest.raises(DataError, match="holds no retrieval lists"):
        find_lists(root)
    allowed[0] = 100
    prepare_retrieval.list_seven_scenes(root, "random:mini-mae", "cpu", side=32)
    assert described == [4] * 6, "each of the six sequences once"
    assert {path.name: path.read_bytes() for path in Path(whole).iterdir()} == expected


def test_global_descriptors_are_unit_means_of_normalized_pictures(root: Path) -> None:
    backbone = load_backbone("random:mini-mae", image_size=32)
    image = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    (found,) = prepare_retrieval.global_descriptors([image], backbone)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (backbone.mean, backbone.std))
    with torch.inference_mode():
        tokens = backbone.encode(torch.from_numpy((image - mean) / std)[None])[-1][0].numpy()
    expected = tokens.mean(axis=0) / np.linalg.norm(tokens.mean(axis=0))
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_preparation_is_asked_for_by_name(root: Path) -> None:
    release = root.parent / "habitat_release"
    release.mkdir()
    for name in ("00000000_1.jpeg", "00000000_2.jpeg"):
        (release / name).touch()
    asked = partial(data_prepare, data_root=root.parent, device="cpu")
    with pytest.raises(UsageError, match="habitat_release is prepared without a network; leave --ckpt out"):
        asked("habitat_release", ckpt="random:mini-mae")
    with pytest.raises(UsageError, match="nyuv2 needs no preparation: it is read as it is published"):
        dataset_info("nyuv2").preparer()
    asked("habitat_release")
    asked("7scenes", ckpt="random:mini-mae")
    assert (release / "pairs.txt").read_text() == "00000000_1.jpeg 00000000_2.jpeg\n"
    assert {path.name for path in (root / "retrieval-random-mini-mae").iterdir()} >= {"red_top10.txt"}
    (root / "red" / frame("seq-01", 2)).write_bytes(b"")
    with pytest.raises(BenchError, match=r"frame-000002\.color\.png can't be decoded"):
        asked("7scenes", ckpt="random:mini-croco")
