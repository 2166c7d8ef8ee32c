"""A local server of two files that answers slowly, with ranges, so that a download can be stopped half-way."""

from __future__ import annotations

import io
import multiprocessing
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

_CHUNK = 1 << 16
_PAUSE_S = 0.02


def archive(files: int = 20, size: int = 100_000) -> bytes:
    """A zip archive of files with random content."""
    stream, rng = io.BytesIO(), np.random.default_rng(0)
    with zipfile.ZipFile(stream, "w") as opened:
        for number in range(files):
            member = zipfile.ZipInfo(f"folder/{number}.bin")  # without the date of today
            opened.writestr(member, rng.bytes(size))
    return stream.getvalue()


def _handler(files: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Silence."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            content = files.get(Path(self.path).name)
            if content is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if asked and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", '"1"')
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if body:
                self._send_slowly(content[start:])

        def _send_slowly(self, content: bytes) -> None:
            try:
                for first in range(0, len(content), _CHUNK):
                    self.wfile.write(content[first : first + _CHUNK])
                    time.sleep(_PAUSE_S)
            except OSError:  # the other side was killed
                self.close_connection = True

    return Handler


def _answer_all(files: dict[str, bytes], address: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files))
    address.send(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[str]:
    """The address of a server that offers `files`, each by its name; in a process of its own, as forks need a single thread."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=_answer_all, args=(files, there), daemon=True)
    server.start()
    try:
        yield here.recv()
    finally:
        server.terminate()
