"""Downloads of datasets from a local server: resumed, verified, unpacked, refused."""

import hashlib
import io
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from croco_bench.backbones import download
from croco_bench.data.catalogue import CATALOGUE, DatasetInfo
from croco_bench.data.folders import MARKER
from croco_bench.errors import DataError, UsageError
from croco_bench.workflows import get_data
from croco_bench.workflows.get_data import get_dataset


class Server:
    """Serves `files`, with ranges; the first answers to a GET of `broken` names end after so many bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.broken: dict[str, int] = {}
        self.ranges: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Silence."""

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                content = outer.files.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                asked = self.headers.get("Range")
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.send_header("ETag", '"1"')
                if asked:
                    outer.ranges.append(asked)
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                if body:
                    end = outer.broken.pop(self.path.lstrip("/"), len(content))
                    self.wfile.write(content[start:end])

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def info(server: Server, *names: str) -> DatasetInfo:
    downloads = "\n".join(f"{server.address}/{name}" for name in names)
    return DatasetInfo("toy", "Toy", "small", "CC0", server.address, "toy/\n", "none", downloads=downloads)


def test_archives_are_unpacked_together_with_the_archives_in_them(server: Server, tmp_path: Path) -> None:
    inner = zipped(**{"seq-01__a.txt": b"1"})
    server.files["chess.zip"] = zipped(**{"chess__seq-01.zip": inner, "chess__TrainSplit.txt": b"s"})
    server.files["more.zip"] = zipped(**{"chess__more.txt": b"2"})
    server.files["list.txt"] = b"3"
    root = tmp_path / "toy"
    get_dataset(info(server, "chess.zip", "more.zip", "list.txt"), root, allow_http=True)
    found = {
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and ".downloads" not in path.parts
    }
    assert found == {"chess/seq-01/a.txt", "chess/TrainSplit.txt", "chess/more.txt", "list.txt"}
    assert not list(root.rglob("*.zip"))
    server.close()
    get_dataset(info(server, "chess.zip", "more.zip", "list.txt"), root, allow_http=True)  # nothing is asked for again


def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.files["a.zip"], server.broken["a.zip"] = zipped(**{"a.txt": b"x" * 5000}), 1000
    one = info(server, "a.zip")
    with pytest.raises(DataError, match="goes on from what has arrived"):
        get_dataset(one, tmp_path, allow_http=True)
    assert not (tmp_path / "a.txt").exists()
    get_dataset(one, tmp_path, allow_http=True)
    assert (tmp_path / "a.txt").read_bytes() == b"x" * 5000
    assert server.ranges == ["bytes=1000-"]


def test_a_tar_and_kept_archives(server: Server, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        facts = tarfile.TarInfo("inside/b.txt")
        facts.size = 2
        archive.addfile(facts, io.BytesIO(b"ok"))
    server.files["b.tar.gz"] = stream.getvalue()
    get_dataset(info(server, "b.tar.gz"), tmp_path, allow_http=True, keep=True)
    assert (tmp_path / "inside/b.txt").read_bytes() == b"ok"
    assert (tmp_path / ".downloads/b.tar.gz").is_file()


@pytest.mark.parametrize("change", ["flip", "page"])
def test_what_arrives_damaged_is_removed_and_nothing_is_unpacked(server: Server, tmp_path: Path, change: str) -> None:
    content = bytearray(zipped(**{"a.txt": b"x" * 500}))
    content[60] ^= 0xFF
    server.files["a.zip"] = bytes(content) if change == "flip" else b"<html>sign in</html>"
    with pytest.raises(DataError, match=r"damaged as it arrived|no archive"):
        get_dataset(info(server, "a.zip"), tmp_path, allow_http=True)
    assert [path.name for path in tmp_path.rglob("*")] == [".downloads", "lock"]
    server.files["a.zip"] = zipped(**{"a.txt": b"x" * 500})
    get_dataset(info(server, "a.zip"), tmp_path, allow_http=True)
    assert (tmp_path / "a.txt").is_file()


def test_hashes_are_shown_and_kept(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["a.zip"] = zipped(**{"a.txt": b"x"})
    found = hashlib.sha256(server.files["a.zip"]).hexdigest()
    get_dataset(info(server, "a.zip"), tmp_path, allow_http=True)
    assert f"a.zip has SHA-256 {found}" in capsys.readouterr().err
    assert (tmp_path / ".downloads/a.zip.done").read_text() == f"{found}  {server.address}/a.zip\n"


def test_of_two_calls_one_waits_and_finds_the_work_done(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files["a.zip"] = zipped(**{"a.txt": b"x"})
    (tmp_path / ".downloads/unpacking-left").mkdir(parents=True)  # of a killed process
    lock = FileLock(tmp_path / ".downloads/lock")
    with lock.acquire():
        other = threading.Thread(
            target=get_dataset, args=(info(server, "a.zip"), tmp_path), kwargs={"allow_http": True}
        )
        other.start()
        other.join(0.3)
        assert other.is_alive() and not (tmp_path / "a.txt").exists()
    other.join(30)
    assert (tmp_path / "a.txt").read_bytes() == b"x"
    assert "another process is downloading" in capsys.readouterr().err
    assert not list((tmp_path / ".downloads").glob("unpacking-*"))


@pytest.mark.parametrize(
    ("url", "to"),
    [("https://a.org/x", "http://a.org/x"), ("https://a.org/x", "ftp://a.org/x"), ("http://a.org/x", "ftp://b/x")],
)
def test_no_redirect_leaves_encryption(url: str, to: str) -> None:
    request = urllib.request.Request(url)
    with pytest.raises(urllib.error.URLError, match="isn't encrypted"):
        download.Redirects().redirect_request(request, None, 302, "Found", {}, to)
    followed = download.Redirects().redirect_request(request, None, 302, "Found", {}, "https://b.org/y")
    assert followed.full_url == "https://b.org/y"


def test_refusals(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["a.zip"] = zipped(**{"a.txt": b"x"})
    with pytest.raises(UsageError, match="isn't encrypted; --allow-http"):
        get_dataset(info(server, "a.zip"), tmp_path)
    with pytest.raises(UsageError, match="without a form"):
        get_dataset(info(server), tmp_path)
    (tmp_path / MARKER).touch()
    with pytest.raises(UsageError, match="holds a miniature; choose another data root"):
        get_dataset(info(server, "a.zip"), tmp_path, allow_http=True)
    (tmp_path / MARKER).unlink()
    with pytest.raises(DataError, match="the server says 404"):
        get_dataset(info(server, "none.zip"), tmp_path, allow_http=True)
    monkeypatch.setattr(get_data, "_size", lambda _: 10**18)
    with pytest.raises(DataError, match="GiB free, but archives and content may need"):
        get_dataset(info(server, "a.zip"), tmp_path, allow_http=True)


def test_the_catalogue_has_addresses_of_what_needs_no_form() -> None:
    offered = {name: one.addresses() for name, one in CATALOGUE.items() if one.addresses()}
    assert set(offered) == {"7scenes", "ade20k", "flyingchairs", "hpatches", "middlebury", "nyuv2", "sintel"}
    assert all(url.startswith(("https://", "http://")) for urls in offered.values() for url in urls)
