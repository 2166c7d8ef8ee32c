"""Runs the check of a dataset and collects its findings. No numpy, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from croco_bench.data.folders import is_miniature
from croco_bench.errors import AbsentError, BenchError, DataError

if TYPE_CHECKING:
    from croco_bench.contracts import Reader

Look = Callable[[Path], Iterable["Finding"]]


@dataclass(frozen=True)
class Finding:
    """One thing that a check examined: whether it is in order, what it is, and what to do if it isn't.

    Attributes:
        ok: whether it is as expected.
        what: what was found.
        advice: what to do if it isn't.
        stops: whether a run would fail. A number of images that isn't the release's is noted in results, but stops no run.
        absent: whether it is a part that isn't there and that runs can do without.
        reader: of the part that was examined, so that its values can be looked at.
    """

    ok: bool
    what: str
    advice: str = ""
    stops: bool = field(default=True, compare=False)
    absent: bool = field(default=False, compare=False)
    reader: Reader | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_error(cls, error: BenchError, advice: str = "") -> Finding:
        """A finding that isn't in order. `advice` replaces the error's own, which then stays in the sentence."""
        return cls(False, str(error), advice) if advice else cls(False, error.what, error.advice)

    @classmethod
    def count(cls, ok: bool, what: str, advice: str, reader: Reader | None = None) -> Finding:
        """A count, compared with the release's. Runs go on with fewer images, and their results say how many."""
        return cls(ok, what, advice, stops=False, reader=reader)

    @property
    def mark(self) -> str:
        """Four characters: ok, absent and not needed, other than the release, or bad: a run would fail."""
        if self.absent:
            return "–   "
        if self.ok:
            return "ok  "
        return "BAD " if self.stops else "but "


@dataclass(frozen=True)
class optional:
    """A look at a part that runs can do without: where it isn't there at all, that is no fault."""

    look: Look

    def __call__(self, root: Path) -> Iterable[Finding]:
        """The findings of the look."""
        return self.look(root)


def run_check(root: Path, *looks: Look) -> list[Finding]:
    """The findings of each `look(root)`, up to its first `DataError` or `OSError`; then what is absent, and what is wrong.

    The looks are independent: an error of one doesn't end the others. Where none finds anything, only the first error is
    kept. The first finding on a miniature says that it is one.
    """
    findings: list[Finding] = []
    absent: list[Finding] = []
    errors: list[Finding] = []
    for look in looks:
        try:
            for finding in look(root):
                findings.append(finding)  # findings before an error are kept
        except DataError as error:
            can_lack = isinstance(look, optional) and isinstance(error, AbsentError)
            (absent if can_lack else errors).append(Finding(can_lack, error.what, error.advice, absent=can_lack))
        except OSError as error:  # of a file that was listed a moment ago: a link to nothing, a broken disk
            what = f"{error.filename or root} can't be read ({error.strerror or error})"
            errors.append(Finding(False, what, "remove it, or copy it again"))
    if not findings and (errors or absent):
        first = (errors + absent)[0]
        findings, absent, errors = [], [], [Finding(False, first.what, first.advice)]
    if is_miniature(root):
        findings.insert(0, Finding(True, "a miniature of rendered rooms: its counts aren't those of the real dataset"))
    return [*findings, *dict.fromkeys(absent), *dict.fromkeys(errors)]
