"""A local server of a folder of files that answers slowly, with ranges, so that a download can be stopped half-way."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Silence."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            content = (folder / Path(self.path).name).read_bytes()
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


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a server that offers the files of a folder; a process of its own, as forks need a single thread."""
    command = [sys.executable, "-m", "benchmarks.faults.server", str(folder)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


if __name__ == "__main__":
    running = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Path(sys.argv[1])))
    print(f"http://127.0.0.1:{running.server_port}", flush=True)
    running.serve_forever()
