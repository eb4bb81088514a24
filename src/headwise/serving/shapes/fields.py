"""Fields of a request, each of the kind it must be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from headwise.errors import listing
from headwise.reading.text import Text
from headwise.serving.refusals import Refused


def wrong(name: str, expected: str) -> Refused:
    """A field that is not what it must be."""
    return Refused(422, "Validation", f"`{name}`: expected {expected}")


def flag(body: Mapping[str, Any], name: str, usual: bool) -> bool:
    """true or false."""
    found = body.get(name)
    if found is not None and not isinstance(found, bool):
        raise wrong(name, "true or false")
    return usual if found is None else found


def whole(body: Mapping[str, Any], name: str) -> int | None:
    """A number from 1 on."""
    found = body.get(name)
    if found is not None and (type(found) is not int or found < 1):
        raise wrong(name, "a whole number from 1 on")
    return found


def word(body: Mapping[str, Any], name: str, *allowed: str) -> str | None:
    """A text, or one of a few."""
    found = body.get(name)
    if found is not None and (not isinstance(found, str) or (allowed and found not in allowed)):
        raise wrong(name, f"one of {listing(allowed)}" if allowed else "a text")
    return found


def text(body: Mapping[str, Any], name: str) -> str:
    """A text that must be there."""
    found = body.get(name)
    if not isinstance(found, str):
        raise wrong(name, "a text")
    return found


def texts(found: Any, name: str) -> list[str]:
    """A list of texts."""
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise wrong(name, "a list of texts")
    return cast("list[str]", found)


def item(found: Any, name: str) -> Text:
    """A text, or a pair as a list of two, or as {"text", "text_pair"}."""
    if isinstance(found, dict) and "text" in found and set(found) <= {"text", "text_pair"}:
        found = [found[key] for key in ("text", "text_pair") if key in found]
    if isinstance(found, str):
        return found
    if isinstance(found, list) and len(found) in (1, 2) and all(isinstance(one, str) for one in found):
        return found[0] if len(found) == 1 else (found[0], found[1])
    raise wrong(name, "a text, or a pair of texts")


def items(found: Any, name: str) -> list[Text]:
    """A text or pair by itself, or a list of them."""
    if isinstance(found, list):
        return [item(one, name) for one in found]
    return [item(found, name)]


def parameters(body: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """The parameters of a request but for those that are null. Raises Refused for one that would be passed over."""
    found = thing(body, "parameters")
    return only({name: value for name, value in found.items() if value is not None}, known)


def thing(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object; an empty one where there is none."""
    found = body.get(name)
    if found is not None and not isinstance(found, dict):
        raise wrong(name, "an object")
    return found or {}


def only(found: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The same object. Raises Refused for a name that would be passed over."""
    odd = sorted(set(found) - set(known))
    if odd:
        said = f"this takes {listing(known)}" if known else "this takes none"
        raise Refused(422, "Validation", f"parameters {listing(odd)} are not known here; {said}")
    return found
