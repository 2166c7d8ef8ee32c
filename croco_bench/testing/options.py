"""What every class of options promises."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass


def assert_frozen(kind: type) -> None:
    """That a class of options is a dataclass with defaults whose fields nothing changes later."""
    assert is_dataclass(kind)
    options = kind()
    for item in fields(kind):
        try:
            setattr(options, item.name, None)
        except FrozenInstanceError:
            continue
        raise AssertionError(f"{kind.__name__}.{item.name} can be changed")
