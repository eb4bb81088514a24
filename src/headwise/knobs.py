"""Settings that a user may turn: fields of a dataclass with a default, a line of help and a range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from headwise.errors import InputError, excerpt

NUMBERS: dict[str, tuple[str, type]] = {"int": ("a whole number", Integral), "float": ("a number", Real)}


def knob(default: Any, help: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """A setting: its default, what it does, and its range."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})


def refuse_misspelt(names: Iterable[str], *kinds: type, others: Iterable[str] = ()) -> None:
    """Raise InputError at the first name that is no setting of these dataclasses, with the one that was meant.

    others: what else is known.
    """
    known = [*others, *(one.name for kind in kinds for one in fields(kind))]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise InputError(f"no option is called {excerpt(name)}; {meant}")


def refuse_out_of_range(settings: Any) -> None:
    """Raise InputError at the first number of a dataclass of knobs that is none or out of its range."""
    for one in fields(settings):
        value, low, high = getattr(settings, one.name), one.metadata["low"], one.metadata["high"]
        kind, optional = str(one.type).split(" | ")[0], "None" in str(one.type)
        if kind in NUMBERS and not (optional and value is None):
            word, numbers = NUMBERS[kind]
            if not isinstance(value, numbers) or isinstance(value, bool):
                raise InputError(f"{one.name} is {value!r}, expected {word}")
        if isinstance(value, Real) and not low <= value <= high:
            expected = f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
            raise InputError(f"{one.name} is {value:g}, expected {expected}")
