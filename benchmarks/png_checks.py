"""Processor time of comparing a PNG's checksums, beside that of decoding it: `python -m benchmarks.png_checks`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from croco_bench.data.formats.integrity import check_png

_SIZE, _REPEATS = (480, 640), 100


def main() -> None:
    """Prints milliseconds for a smooth picture, and for one with the noise of a photograph."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.uniform(0, 255, (12, 16, 3)), _SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    for name, noise in (("smooth", 0.0), ("noise of 3 levels", 3.0)):
        picture = np.clip(smooth + rng.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)
        encoded = cv2.imencode(".png", picture)[1]
        content = encoded.tobytes()
        check, decode = _ms(partial(check_png, content)), _ms(partial(cv2.imdecode, encoded, cv2.IMREAD_COLOR))
        size = f"{_SIZE[1]}x{_SIZE[0]}, {name}, {len(content) / 1e3:.0f} kB"
        print(f"{size}: checksums {check:.2f} ms, decoding {decode:.1f} ms ({100 * check / decode:.1f} %)")


def _ms(work: Callable[[], object]) -> float:
    """The median of the processor time in milliseconds, which other work on the machine hardly changes."""
    found = []
    for _ in range(_REPEATS):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return 1e3 * statistics.median(found)


if __name__ == "__main__":
    main()
