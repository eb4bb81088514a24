"""Objects of a JSON file: one a line, or a document that goes over lines, such as an array of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from headwise.errors import InputError, excerpt

_SPACE = re.compile(r"[ \t\r\n]*")
_EXPECTED = "expected one whole JSON object a line, or an array of objects; correct it"


def objects(name: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object with the line where it begins. Numbers come as they are written.

    What the first line leaves open makes a document of the file: an array of objects, or objects in succession.

    Raises InputError for what is no JSON or no object, and for a key that comes twice, naming line and column.
    """
    first = next(line for line in BytesIO(data) if not line.isspace())
    found = _document(name, data.decode()) if _goes_on(first.decode().strip()) else _lines(name, data)
    for line, item in found:
        if not isinstance(item, dict):
            raise InputError(f"{name}, line {line}: no object; {_EXPECTED}")
        yield line, item


def _goes_on(line: str) -> bool:
    """Whether a line is the beginning of some JSON, or an array."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(line)
    except (ValueError, RecursionError):
        return False
    return line.startswith("[")


def _lines(name: str, data: bytes) -> Iterator[tuple[int, Any]]:
    """What each line holds, blank ones left out."""
    for number, line in enumerate(BytesIO(data), 1):
        if not line.isspace():
            try:
                yield number, _DECODER.decode(line.decode().rstrip())
            except (ValueError, RecursionError) as error:
                raise _malformed(name, number, error) from error


def _document(name: str, text: str) -> Iterator[tuple[int, Any]]:
    """What stands in an array, or in succession, with the line where it begins."""
    line, counted = 1, 0
    try:
        for begin, item in _items(text):
            line, counted = line + text.count("\n", counted, begin), begin
            yield line, item
    except json.JSONDecodeError as error:
        raise _malformed(name, error.lineno, error) from error


def _items(text: str) -> Iterator[tuple[int, Any]]:
    """The same with the position where it begins. Raises JSONDecodeError."""
    at = _past_space(text, 0)
    array = text[at] == "["
    at, end = _past_space(text, at + array), "]" if array else ""
    if text[at : at + 1] == end:
        raise json.JSONDecodeError("an array of nothing", text, at)
    while text[at : at + 1] != end:
        try:
            item, behind = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError(_reason(error), text, at) from error
        yield at, item
        at = _past_space(text, behind)
        if array and text[at : at + 1] == ",":
            at = _past_space(text, at + 1)
            if text[at : at + 1] == end:
                raise json.JSONDecodeError("Expecting value", text, at)
        elif array and text[at : at + 1] != end:
            raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
    if (rest := _past_space(text, at + 1)) < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)


def _past_space(text: str, at: int) -> int:
    """Where something stands again from here on, or the end."""
    found = _SPACE.match(text, at)
    return found.end() if found else len(text)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a value in JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"two values for {excerpt(next(key for key in keys if keys.count(key) > 1))}")
    return item


def _malformed(name: str, line: int, error: Exception) -> InputError:
    column = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
    return InputError(f"{name}, line {line}{column}: {_reason(error)}; {_EXPECTED}")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


_DECODER = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
)
