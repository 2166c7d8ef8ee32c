"""Runs the check of a dataset and collects its findings. No numpy, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from croco_bench.data.folders import is_miniature
from croco_bench.errors import BenchError, DataError


@dataclass(frozen=True)
class Finding:
    """One thing that a check examined: whether it is in order, what it is, and what to do if it isn't."""

    ok: bool
    what: str
    advice: str = ""

    @classmethod
    def from_error(cls, error: BenchError, advice: str = "") -> Finding:
        """A finding that isn't in order. `advice` replaces the error's own, which then stays in the sentence."""
        return cls(False, str(error), advice) if advice else cls(False, error.what, error.advice)


def run_check(root: Path, look: Callable[[Path], Iterable[Finding]]) -> list[Finding]:
    """The findings of `look(root)`, up to the first `DataError`, which becomes the last finding.

    The first finding on a miniature says that it is one.
    """
    findings: list[Finding] = []
    if is_miniature(root):
        findings.append(Finding(True, "a miniature of rendered rooms: its counts aren't those of the real dataset"))
    try:
        for finding in look(root):
            findings.append(finding)  # findings before an error are kept
    except DataError as error:
        findings.append(Finding.from_error(error))
    return findings
