"""Where a format takes facts from that tensors don't show, and the notes about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.errors import CheckpointError, UsageError


class Facts:
    """Picks each fact from the first source that has it, and remembers the sources for the result."""

    def __init__(self, given: BackboneFacts, nearby: Mapping[str, Any], nearby_source: str = "") -> None:
        """Sources outside the file.

        Args:
            given: by the user.
            nearby: by files next to the checkpoint or by the zoo: keys of `BackboneFacts`, and `width`.
            nearby_source: what notes call `nearby`; empty: they don't mention it.
        """
        self._given = {key: value for key, value in asdict(given).items() if value is not None}
        self._nearby, self._nearby_source = dict(nearby), nearby_source
        self._of_library: Mapping[str, Any] = {}
        self._picked: set[str] = {"state"}
        self._notes: list[str] = []
        self._found: dict[str, Any] = {}
        self._assumed: dict[str, Any] = {}

    def add_known(self, facts: Mapping[str, Any]) -> None:
        """Facts that hold for all files of the library that wrote this one; they stand before a format's own."""
        self._of_library = facts

    def pick(self, key: str, *, stated: Any = None, known: Any = None, assumed: Any = None) -> Any:
        """The value of a fact: the user's, else the file's, else that of files nearby or the zoo, else the format's.

        Args:
            key: of `BackboneFacts`.
            stated: by the file.
            known: the same for all files of the format.
            assumed: the usual value, which is noted as an assumption.
        """
        self._picked.add(key)
        if (given := self._given.get(key)) is not None:
            if stated is not None and stated != given:
                self._notes.append(f"{key}={_text(given)} was given, though the file says {_text(stated)}")
            return given
        if stated is not None:
            return stated
        if key in self._nearby:
            self._found[key] = self._nearby[key]
            return self._nearby[key]
        known = self._of_library.get(key, known)
        if known is None:
            self._assumed[key] = assumed
        return assumed if known is None else known

    def check_patches(self, width: int, patch_size: int, source: str) -> None:
        """Refuses a patch size other than the given one, and ignores files nearby that describe a network of other width.

        Raises:
            CheckpointError: `source` has another patch size than the given one.
        """
        self._picked.add("patch_size")
        if self._given.get("patch_size", patch_size) != patch_size:
            raise CheckpointError(
                f"{source} has patches of {patch_size} pixels, not of {self._given['patch_size']}",
                "correct backbone.patch_size or leave it out",
            )
        described = (self._nearby.get("width", width), self._nearby.get("patch_size", patch_size))
        if described != (width, patch_size):
            self._notes.append(f"{self._nearby_source} describes another network and wasn't used")
            self._nearby = {}

    def notes(self, source: str) -> tuple[str, ...]:
        """Notes about facts for the result.

        Raises:
            UsageError: the user gave a fact that has no meaning for this file.
        """
        if unused := sorted(self._given.keys() - self._picked):
            names = ", ".join(f"backbone.{key}" for key in unused)
            raise UsageError(f"{names} can't be set for {source}", "leave it out")
        notes = list(self._notes)
        if self._found and self._nearby_source:
            notes.append(f"according to {self._nearby_source}: {_listed(self._found)}")
        if self._assumed:
            notes.append(f"assumed, as the file doesn't say it (set backbone.KEY): {_listed(self._assumed)}")
        return tuple(notes)


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_text(value)}" for key, value in facts.items())


def _text(value: object) -> str:
    """As `--set` takes it."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)
