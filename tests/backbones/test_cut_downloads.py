"""A server that stops half-way without saying a length leaves no file behind that is taken for whole."""

import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from croco_bench.backbones.download import cached_path, download
from croco_bench.errors import CheckpointError


class Server:
    """Sends the first `count` bytes of `body`, and no length."""

    body, count, url = b"", 0, ""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(state.body[: state.count])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/weights.pth"
        yield state
        running.shutdown()


def saved(kind: str) -> bytes:
    state = {"a": torch.arange(2000.0)}
    if kind == "safetensors":
        return save(state)
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_half_a_file_is_fetched_anew(server: Server, kind: str) -> None:
    server.body = saved(kind)
    server.count = len(server.body) // 2
    with pytest.raises(
        CheckpointError, match=rf"only a part of .*weights\.pth arrived \({server.count} bytes\); the copy was"
    ):
        download(server.url)
    assert not cached_path(server.url).exists()
    server.count = len(server.body)
    assert download(server.url).read_bytes() == server.body
