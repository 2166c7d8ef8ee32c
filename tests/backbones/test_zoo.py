"""Names of released checkpoints, and how files get from a server into the cache."""

import hashlib
import http.server
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from croco_bench.backbones import load_backbone, zoo
from croco_bench.backbones.download import download
from croco_bench.backbones.export import write_official
from croco_bench.backbones.locate import locate, parse_source
from croco_bench.backbones.networks.architecture import ARCHITECTURES
from croco_bench.backbones.networks.hub_errors import hub_errors, hub_reason
from croco_bench.backbones.networks.vit import ViT
from croco_bench.contracts import Pretraining
from croco_bench.errors import CheckpointError
from croco_bench.files import cache_folder


def test_every_released_network_can_be_had_with_random_weights() -> None:
    assert {entry.name for entry in zoo.ENTRIES} <= set(ARCHITECTURES)
    for entry in zoo.ENTRIES:
        assert entry.family == ARCHITECTURES[entry.name].family
        if entry.name in zoo.packaged():
            continue
        assert entry.url.startswith("https://")
        assert entry.url.endswith(".pth")
        assert entry.license and entry.citation and entry.summary
    assert len({entry.url for entry in zoo.ENTRIES}) == len(zoo.ENTRIES)


@pytest.mark.parametrize("name", zoo.packaged())
def test_the_small_backbones_come_with_the_package(name: str) -> None:
    """Small, whole, of the architecture that bears their name, and with the facts of their making beside them."""
    path, license = locate(parse_source(name))
    assert license == "Apache-2.0"
    assert path.stat().st_size < 12 * 2**20
    backbone = load_backbone(name, image_size=64)
    assert isinstance(backbone, ViT)
    assert backbone.architecture == ARCHITECTURES[name]
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["command"].startswith("croco-bench pretrain --recipe mini")
    assert backbone.origin.pretraining == Pretraining(facts["settings"]["objective"], facts["images_seen"])
    held_out = [line["held_out"] for line in facts["curve"]]
    assert held_out[-1] < 0.95 * held_out[0]
    assert facts["scores"]["held_out"] == held_out[-1]
    if backbone.architecture.decoder:
        assert facts["scores"]["ratio"] < 0.7


@pytest.mark.processes
def test_listing_the_zoo_and_the_architectures_needs_no_torch() -> None:
    code = (
        "import sys; from croco_bench.backbones import zoo; from croco_bench.backbones.networks import architecture;"
        "assert zoo.ENTRIES and architecture.ARCHITECTURES;"
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@dataclass
class Server:
    """A file server that understands ranges, and can misbehave."""

    body: bytes = bytes(range(256)) * 400
    etag: str = '"v1"'
    cut: int | None = None
    ranges: bool = True
    status: int = 200
    wrong_range: bool = False
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
            state.requests.append((wanted, condition))
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if condition not in (None, state.etag):
                start = 0
            if state.status != 200:
                self.send_error(state.status)
                return
            if start >= len(state.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.body)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                first = 0 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {first}-{len(state.body) - 1}/{len(state.body)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(state.body) - start))
            self.end_headers()
            self.wfile.write(state.body[start : state.cut])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}/some/net.pth?download=1"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        running.shutdown()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def interrupt(server: Server, at: int) -> None:
    """A first attempt that breaks off after `at` bytes."""
    server.cut = at
    with pytest.raises(CheckpointError, match="the same command goes on from what has arrived"):
        download(server.url)
    server.cut = None


def test_a_download_is_kept(server: Server) -> None:
    path = download(server.url, sha256(server.body))
    assert path.name == "net.pth"
    assert path.read_bytes() == server.body
    assert download(server.url) == path
    assert len(server.requests) == 1
    assert sorted(item.name for item in path.parent.iterdir() if item.name != "lock") == ["net.pth"]


def test_an_interrupted_download_goes_on(server: Server) -> None:
    interrupt(server, 30_000)
    assert download(server.url, sha256(server.body)).read_bytes() == server.body
    assert server.requests[1] == ("bytes=30000-", '"v1"')


def test_a_server_without_ranges_sends_everything_again(server: Server) -> None:
    interrupt(server, 30_000)
    server.ranges = False
    assert download(server.url).read_bytes() == server.body


def test_parts_of_two_versions_are_never_joined(server: Server) -> None:
    interrupt(server, 30_000)
    server.body, server.etag = server.body[::-1], '"v2"'
    assert download(server.url).read_bytes() == server.body


def test_a_whole_file_that_was_never_renamed_is_taken(server: Server) -> None:
    interrupt(server, 30_000)
    partial = next(cache_folder().rglob("*.partial"))
    partial.write_bytes(server.body)
    assert download(server.url).read_bytes() == server.body
    assert server.requests[-1][0] == f"bytes={len(server.body)}-"


def test_too_much_of_another_file_is_thrown_away(server: Server) -> None:
    interrupt(server, 30_000)
    partial = next(cache_folder().rglob("*.partial"))
    partial.write_bytes(server.body + b"more")
    assert download(server.url).read_bytes() == server.body


def test_a_server_that_sends_another_part(server: Server) -> None:
    interrupt(server, 30_000)
    server.wrong_range = True
    with pytest.raises(CheckpointError, match="another part"):
        download(server.url)
    server.wrong_range = False
    assert download(server.url).read_bytes() == server.body


def test_a_wrong_checksum_removes_the_copy(server: Server) -> None:
    with pytest.raises(CheckpointError, match=r"has SHA-256 .* expected 000000000000"):
        download(server.url, "0" * 64)
    assert not list(cache_folder().rglob("net.pth*"))


def test_a_web_page_is_not_kept(server: Server) -> None:
    server.body = b"<!DOCTYPE html><html>please log in</html>"
    with pytest.raises(CheckpointError, match="leads to a web page"):
        download(server.url)
    assert not list(cache_folder().rglob("net.pth*"))


def test_refusals_of_the_server(server: Server) -> None:
    server.status = 404
    with pytest.raises(CheckpointError, match="the server says 404 Not Found"):
        download(server.url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x.pth", "http://", "http://[bad/x.pth", "http://127.0.0.1:9/a b.pth"]
)
def test_addresses_that_lead_nowhere(url: str, server: Server) -> None:
    with pytest.raises(CheckpointError, match="can't be downloaded") as caught:
        download(url)
    assert "\n" not in str(caught.value)


def test_two_downloads_at_once_make_one(server: Server) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(download(server.url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(server.requests) == 1
    assert found[0].read_bytes() == server.body


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"can't be written .* set CROCO_BENCH_CACHE"):
        download(server.url)


def test_a_backbone_from_a_url(server: Server, tmp_path: Path) -> None:
    backbone = load_backbone("random:mini-mae", image_size=64)
    assert isinstance(backbone, ViT)
    write_official(backbone, tmp_path / "net.pth")
    server.body = (tmp_path / "net.pth").read_bytes()
    again = load_backbone(server.url, image_size=64)
    assert again.name == "net"
    assert again.origin.source == server.url
    assert again.origin.sha256 == sha256(server.body)
    assert torch.equal(again.state_dict()["patch_embed.weight"], backbone.state_dict()["patch_embed.weight"])


def test_a_released_name_downloads_and_brings_its_license(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    released = zoo.ZooEntry("net", "mae", "x", server.url, "CC BY 4.0", "x", sha256(server.body))
    monkeypatch.setattr(zoo, "ENTRIES", (released,))
    path, license = locate(parse_source("net"))
    assert (path.read_bytes(), license) == (server.body, "CC BY 4.0")


def test_a_file_hides_a_released_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("croco-v1").write_bytes(b"mine")
    assert locate(parse_source("croco-v1")) == (Path("croco-v1"), None)


@pytest.mark.parametrize(
    ("ckpt", "kind", "name", "default_name"),
    [
        ("timm:vit_base_patch16_224.dino", "timm", "vit_base_patch16_224.dino", "vit_base_patch16_224.dino"),
        ("random:mini-mae@3", "random", "mini-mae", "random-mini-mae-3"),
        ("croco-v1", "zoo", "croco-v1", "croco-v1"),
        ("hf://owner/repo/net.safetensors@main", "hub", "owner/repo/net.safetensors@main", "net"),
        ("https://host/some/net.pth?download=1", "url", "https://host/some/net.pth?download=1", "net"),
        ("folder/my net.pth", "file", "folder/my net.pth", "my-net"),
        ("net.ckpt", "file", "net.ckpt", "net"),
    ],
)
def test_kinds_of_checkpoint_strings(ckpt: str, kind: str, name: str, default_name: str) -> None:
    source = parse_source(ckpt)
    assert (source.kind, source.name, source.default_name) == (kind, name, default_name)
    assert (source.entry is not None) == (kind == "zoo")


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(CheckpointError, match="croco-v2-vitb-base"):
        locate(parse_source("croco-v2-vitb-bse"))


@pytest.mark.parametrize("ckpt", ["hf://a/b/", "hf://a", "hf://"])
def test_malformed_hub_names(ckpt: str) -> None:
    with pytest.raises(CheckpointError, match="hf://OWNER/REPO/FILE"):
        locate(parse_source(ckpt))


@pytest.mark.parametrize("ckpt", ["timm:vit_tiny_patch16_224", "hf://owner/repo/net.pth@main"])
def test_without_a_network_the_hub_is_one_sentence(ckpt: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        load_backbone(ckpt, image_size=64)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_reasons_are_found_below_wrapping_errors() -> None:
    wrapped = RuntimeError("a paragraph\nof text")
    assert hub_reason(wrapped) == "a paragraph"
    wrapped.__cause__ = ConnectionError()
    assert "can't be reached" in hub_reason(wrapped)


@pytest.mark.slow
@pytest.mark.parametrize("ckpt", ["timm:nothing", "timm:", "timm:resnet18", "random:crossvit_tiny_240", ""])
def test_timm_networks_that_cannot_serve(ckpt: str) -> None:
    with pytest.raises(Exception, match=r"timm|empty") as caught:
        load_backbone(ckpt)
    assert type(caught.value).__module__ == "croco_bench.errors"


def test_warnings_of_the_hub_become_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    hub = logging.getLogger("huggingface_hub.utils._http")
    before = logging.getLogger("huggingface_hub").handlers[:]
    with pytest.raises(CheckpointError, match=r"^x can't be fetched: 'no luck'$"), hub_errors("x can't be fetched"):
        for number in (1, 2):
            hub.warning("Retrying in 1s [Retry %d/5].", number)
        raise KeyError("no luck")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "trying again" in said
    assert logging.getLogger("huggingface_hub").handlers == before
