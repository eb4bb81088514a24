"""Entities as spans of characters, {"start", "end", "label"} as predict writes them: the same as tags of words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from headwise.errors import InputError, excerpt
from headwise.reading.records import Records
from headwise.reading.tags import NONE, Tag
from headwise.reading.words import Spans, spans_in

Span = tuple[int, int, str]  # first character, the one after the last, type


def has_spans(records: Records, column: str) -> bool:
    """Whether a column holds lists of spans, or such lists as JSON; only of empty lists one cannot tell."""
    values = records.table[column].to_pylist()
    if records.has_lists(column):
        first = next((item for row in values for item in row), "")
    else:
        first = next((row.lstrip(" [") for row in values if row.replace(" ", "") != "[]"), "")
    return first.startswith("{") and all(f'"{key}"' in first for key in ("start", "end", "label"))


def read_spans(records: Records, column: str, text: str) -> list[list[Tag]]:
    """Tags in IOB2 of the words found in each text. Raises InputError for what is no span, for spans that begin or end
    inside a word, and for those that share one."""
    rows = zip(records.table[column].to_pylist(), records.table[text].to_pylist(), strict=True)
    tagged = []
    for row, (field, words) in enumerate(rows):
        where = spans_in(words)
        tags: list[Tag] = [NONE] * len(where)
        items = field if isinstance(field, list) else items_in(records, row, column, field)
        for number, item in enumerate(items, 1):
            try:
                start, end, kind = span_of(item, words)
                first, last = covered(where, start, end, words)
                if any(tag != NONE for tag in tags[first:last]):
                    raise InputError(
                        f", {start} to {end}, shares a word with another span; a word has one tag, so leave one out"
                    )
            except InputError as error:  # where it stands is found by reading the file again
                raise InputError(f"{records.where(row)}: span {number} of column {column}{error}") from None
            tags[first:last] = [("B" if at == first else "I", kind) for at in range(first, last)]
        tagged.append(tags)
    return tagged


def items_in(records: Records, row: int, column: str, field: str) -> list[Any]:
    """The list that is written as JSON in a field. Raises InputError where there is none."""
    try:
        items = json.loads(field or "[]")
        if not isinstance(items, list):
            raise ValueError
        return items
    except (ValueError, RecursionError):
        raise InputError(
            f"{records.where(row)}: {column} is {excerpt(field)}, expected a list of spans: "
            '[{"start": 0, "end": 3, "label": "PER"}]'
        ) from None


def span_of(item: Any, text: str) -> Span:
    """A span as it is written. Raises InputError, to be told of a span, where it is none, or not in its text."""
    try:
        one = json.loads(item) if isinstance(item, str) else item
        start, end, kind = int(one["start"]), int(one["end"]), one["label"]
        if not isinstance(kind, str) or not kind.strip():
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f' is {excerpt(str(item))}, expected {{"start": 0, "end": 3, "label": "PER"}}') from None
    if not 0 <= start < end <= len(text):
        raise InputError(f", {start} to {end}: not in its text of {len(text)} characters; mend it")
    return start, end, kind


def covered(words: Spans, start: int, end: int, text: str) -> tuple[int, int]:
    """The first word of a span, and the one after its last. Raises InputError, to be told of a span, where it takes but
    a part of one."""
    first, last = int(np.searchsorted(words[:, 1], start, "right")), int(np.searchsorted(words[:, 0], end, "left"))
    if first < last and (words[first, 0], words[last - 1, 1]) == (start, end):
        return first, last
    told = f", {start} to {end} ({excerpt(text[start:end])})"
    if first >= last:
        raise InputError(f"{told}: there is no word in it; mend it or leave it out")
    start, end = int(words[first, 0]), int(words[last - 1, 1])
    raise InputError(
        f"{told}: does not begin and end where words do; the nearest that does is {start} to {end} "
        f"({excerpt(text[start:end])})"
    )
