"""Checkpoints on the Hugging Face hub, from a server on this machine that answers as the hub does."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from croco_bench import load_backbone
from croco_bench.backbones.hub import fetch, parse_hub_name
from croco_bench.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A folder of files as the repository owner/repo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def save(self, *, parts: int = 1) -> None:
        """A small ViT with its configurations."""
        torch.manual_seed(0)
        state = VisionTransformer(
            img_size=32, patch_size=16, embed_dim=96, depth=2, num_heads=6, num_classes=0
        ).state_dict()
        names = sorted(state)
        files = {f"model-{k + 1:05}-of-{parts:05}.safetensors": names[k::parts] for k in range(parts)}
        for file, own in files.items():
            target = "model.safetensors" if parts == 1 else file
            save_file({name: state[name] for name in own}, self.folder / target)
        if parts > 1:
            index = {"weight_map": {name: file for file, own in files.items() for name in own}}
            (self.folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
        config = {"hidden_size": 96, "num_attention_heads": 6, "patch_size": 16}
        (self.folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        statistics = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
        (self.folder / "preprocessor_config.json").write_text(json.dumps(statistics), encoding="utf-8")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "repo"
    folder.mkdir()
    state = Hub(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, *, send: bool) -> None:
            path = self.path.split("?")[0]
            if path.startswith("/api/models/owner/repo/tree/"):
                found = [item for item in folder.rglob("*") if item.is_file()]
                files = [
                    {"type": "file", "path": str(item.relative_to(folder)), "oid": "x", "size": 1} for item in found
                ]
                self.reply(json.dumps(files).encode(), send=send)
                return
            name = path.removeprefix("/owner/repo/resolve/").partition("/")[2]
            state.asked.append(name)
            if not path.startswith("/owner/repo/"):
                self.refuse("RepoNotFound")
            elif not (folder / name).is_file():
                self.refuse("EntryNotFound")
            else:
                self.reply((folder / name).read_bytes(), send=send)

        def reply(self, body: bytes, *, send: bool) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if send:
                self.wfile.write(body)

        def refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield state
    server.shutdown()
    server.server_close()


def test_a_repository_gives_weights_and_facts(hub: Hub) -> None:
    hub.save()
    backbone = load_backbone("hf://owner/repo", image_size=32)
    assert (backbone.name, backbone.mean) == ("repo", (0.5, 0.5, 0.5))
    assert backbone.origin.notes[0].startswith("according to preprocessor_config.json and config.json: heads=6")
    assert load_backbone("hf://owner/repo/model.safetensors@main", image_size=32).origin.notes == backbone.origin.notes


def test_an_index_brings_its_parts(hub: Hub) -> None:
    hub.save(parts=3)
    assert load_backbone("hf://owner/repo", image_size=32).depth == 2
    assert {"model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"} <= set(hub.asked)


def test_weights_in_a_folder_of_the_repository(hub: Hub) -> None:
    (hub.folder / "sub").mkdir()
    torch.save({"a": torch.ones(1)}, hub.folder / "sub" / "net.pth")
    (hub.folder / "sub" / "config.json").write_text("{}", encoding="utf-8")
    path = fetch(parse_hub_name("owner/repo"))
    assert (path.name, (path.parent / "config.json").is_file()) == ("net.pth", True)


def test_a_repository_without_one_choice(hub: Hub) -> None:
    (hub.folder / "README.md").write_text("x", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"hf://owner/repo has no weights that this project reads; name one"):
        load_backbone("hf://owner/repo")
    for name in ("a.pth", "b.pth"):
        (hub.folder / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"has several, such as a\.pth, b\.pth; name one: hf://OWNER/REPO/FILE"):
        load_backbone("hf://owner/repo")


@pytest.mark.parametrize("ckpt", ["hf://owner/repo/nothing.pth", "hf://nobody/nothing/net.pth"])
def test_what_the_hub_does_not_have_is_one_sentence(ckpt: str, hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"can't be fetched: the (repository|Hugging Face hub) has no") as caught:
        load_backbone(ckpt)
    assert "\n" not in str(caught.value)
    assert hub.asked


def test_without_a_connection_what_was_fetched_serves(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.save()
    before = load_backbone("hf://owner/repo", image_size=32).origin
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_backbone("hf://owner/repo", image_size=32).origin == before


def test_a_file_that_is_not_what_the_hub_published_is_refused(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.save()
    path = fetch(parse_hub_name("owner/repo"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"model.safetensors has SHA-256 {found}, as the hub says" in capsys.readouterr().err
    with path.resolve().open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(CheckpointError, match=r"but the hub published .*delete .* and try again"):
        fetch(parse_hub_name("owner/repo"))
