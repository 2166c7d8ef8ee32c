"""Errors that a user can correct. The command line prints them without a traceback."""

from __future__ import annotations

import difflib
import functools
import math
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from croco_bench.display import one_line

P = ParamSpec("P")
T = TypeVar("T")

# Why a metric has no value, where predictions may fail.
FAILED = "too many predictions failed for a finite value"


class BenchError(Exception):
    """`what` is wrong (given and expected), and `advice` for the user; printed as one sentence, "what; advice". Exit code 1."""

    exit_code = 1

    def __init__(self, what: str, advice: str = "") -> None:
        # Messages of libraries, which errors quote, may have several lines.
        self.what, self.advice = one_line(what), one_line(advice)
        super().__init__(self.what, self.advice)

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}" if self.advice else self.what

    def for_python(self) -> BenchError:
        """The same error, with arguments of Python where it names options of the command line."""
        self.what, self.advice = _arguments(self.what), _arguments(self.advice)
        self.args = (self.what, self.advice)
        return self


class UsageError(BenchError):
    """The command line, a recipe or a name is wrong. Exit code 2."""

    exit_code = 2


class CheckpointError(BenchError):
    """A checkpoint can't be read, or its content doesn't agree with its format."""


class DataError(BenchError):
    """A dataset is missing, incomplete or damaged."""


class AbsentError(DataError):
    """A whole part of a dataset isn't there, such as a split; other parts may do without it."""


class FitError(UsageError):
    """Backbone, head, task or image size don't fit together."""


class SizeError(FitError):
    """An image size (H, W) isn't a multiple of `multiple` pixels; the advice is the nearest one that is.

    `of_patches`: that is what the patches ask for; a head may ask for more. `up`: the advice isn't smaller than the size.
    """

    def __init__(
        self, what: str, size: tuple[int, int], multiple: int, *, of_patches: bool = False, up: bool = False
    ) -> None:
        self.size, self.multiple, self.of_patches = size, multiple, of_patches
        self._round = math.ceil if up else round
        self._lead = f"the {'next' if up else 'nearest'} that fits is"
        super().__init__(what, f"{self._lead} {'x'.join(map(str, self.fitting()))}")

    def for_setting(self, factor: int = 1) -> FitError:
        """The same for users of commands: the advice is a setting, of sides that are multiples of `factor * multiple`."""
        return FitError(self.what, f"{self._lead} --set train.image_size={size_text(self.fitting(factor))}")

    def fitting(self, factor: int = 1) -> tuple[int, int]:
        """The size that the advice names, of sides that are multiples of `factor * multiple`."""
        step = factor * self.multiple
        height, width = (max(self._round(side / step), 1) * step for side in self.size)
        return height, width


def size_text(size: tuple[int, int]) -> str:
    """A size (H, W) as a setting gives it: one number for a square."""
    height, width = size
    return str(height) if height == width else f"[{height},{width}]"


class DivergedError(BenchError):
    """Training or prediction gave values that aren't finite."""


class RecordError(BenchError):
    """A result file can't be read, written, or replaced."""


class BusyError(RecordError):
    """Another process is at work on the same result."""


class OtherResultError(RecordError):
    """The result or saved state that is there isn't of the run that was asked for, or can't be read; starting over helps.

    The advice names `--fresh`.
    """


class Stopped(KeyboardInterrupt):
    """A signal ended the work. Exit code 128 + `signal`; `outcome` says what the same command does next."""

    def __init__(self, number: signal.Signals, outcome: str = "the same command goes on from the last save") -> None:
        super().__init__(number.name)
        self.signal, self.outcome = number, outcome


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """An error for a name that doesn't exist, with the most similar existing names."""
    names = sorted(set(known))
    near = nearest(given, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"no {kind} is called {given!r}", hint)


def nearest(given: str, names: Sequence[str], count: int = 3) -> list[str]:
    """Names with the given text in them, then those that are alike in most letters; `*`, `?` and case don't count."""
    bare = given.strip("*?").lower()
    holding = [name for name in names if len(bare) > 1 and bare in name.lower()]
    lower = {name.lower(): name for name in reversed(names)}
    alike = [lower[name] for name in difflib.get_close_matches(bare, list(lower), n=count, cutoff=0.5)]
    return list(dict.fromkeys([*holding, *alike]))[:count]


_FLAGS = ("fresh", "eval-only", "frozen")
_VALUES = ("name", "results", "data-root", "recipe", "limit", "seed", "device", "ckpt")
_SET = r"--set (?:'[^']+'|[^\s;)]*[^\s;),.])"
_OPTION = re.compile(rf"({_SET}(?: {_SET})*)|--({'|'.join(_FLAGS)})(?![\w-])|--({'|'.join(_VALUES)})(?![\w-])")


def _arguments(text: str) -> str:
    """`--set optim.lr=3e-4` -> `changes=["optim.lr=3e-4"]`, `--fresh` -> `fresh=True`, `--name` -> `name`.

    Options of a command that the text gives in full stay as they are.
    """
    parts = re.split(r"(;|, or |\(|\))", text)
    return "".join(part if "croco-bench " in part else _OPTION.sub(_argument, part) for part in parts)


def _argument(match: re.Match[str]) -> str:
    settings, flag, value = match.groups()
    if settings:
        changes = [quoted or plain for quoted, plain in re.findall(r"--set (?:'([^']+)'|(\S+))", settings)]
        named = [change for change in changes if "=" not in change]  # a setting's name, without a value
        return " ".join(named) if named else f"changes={changes}".replace("'", '"')
    return f"{flag.replace('-', '_')}=True" if flag else value.replace("-", "_")


def told_in_python(function: Callable[P, T]) -> Callable[P, T]:
    """The function for users of Python: errors name its arguments, not options of the command line."""

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BenchError as error:
            raise error.for_python() from error.__cause__

    told.__module__ = "croco_bench"
    return told
