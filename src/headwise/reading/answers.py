"""Answers that stand in a text: read from a column, found in their contexts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from headwise.errors import InputError, excerpt
from headwise.reading.columns import Columns
from headwise.reading.records import Records

STARTS = ("answer_start", "start", "answer_starts", "starts", "答案位置", "起始位置")
"""What the place of an answer is usually called, as a key beside its text or as a column."""


class Answer(NamedTuple):
    """A piece of a context."""

    text: str
    start: int  # of its first character in the context; -1: it isn't there, and only serves to judge by
    place: Literal["given", "found", "first", "mended", "absent"] = "given"  # how it was found; first: of several

    @property
    def end(self) -> int:
        """Just past its last character."""
        return self.start + len(self.text)


Said = tuple[str, int | None]  # an answer, and where it is said to begin


def read_answers(records: Records, columns: Columns) -> npt.NDArray[np.object_]:
    """The answers in each row, as tuples; empty where its question has none. [b]

    A field holds one answer as text, several as a list, or {"text": …, "answer_start": …} of one or of several, in
    JSON where the file has no lists; places may also stand in a column of their own. An answer without a place is
    looked for; one that does not stand where it is said to is taken from where it stands nearest to that.

    Raises InputError where no answer of a row stands in its context, and for a place that is no number.
    """
    column, context = columns.target, columns.pair
    assert context is not None
    own = next((name for name in records.columns if name in STARTS and name != column), None)
    found = np.empty(len(records), object)
    places = [None] * len(records) if own is None else records.table[own].to_pylist()
    rows = zip(records.table[column].to_pylist(), records.table[context].to_pylist(), places, strict=True)
    for row, (field, text, place) in enumerate(rows):
        try:
            said = [one for one in answers_in(field) if one[0].strip()]
            if place is not None and said and said[0][1] is None:
                said = placed([text for text, _ in said], place)
        except ValueError as error:
            raise InputError(f"{records.where(row)}: {column} {excerpt(str(field))}: {error}") from None
        found[row] = tuple(located(text, *one) for one in said)
        if found[row] and all(answer.place == "absent" for answer in found[row]):
            refuse_absent(records.where(row), text, *said[0])
    return found


def refuse_absent(where: str, context: str, answer: str, start: int | None) -> None:
    """Raises InputError: this answer is not in its context."""
    there = (
        "" if start is None or start < 0 else f" (at {start} stands {excerpt(context[start : start + len(answer)])})"
    )
    raise InputError(
        f"{where}: the answer {excerpt(answer)} is not in its context{there}; an answer is a piece of the context, "
        "letter by letter: copy it from there, or leave the row out"
    )


def answers_in(field: Any) -> Iterator[Said]:
    """What a field says. Raises ValueError where texts and places do not go together."""
    if isinstance(field, list):
        for item in field:
            yield from answers_in(item)
    elif isinstance(field, dict) and "text" in field:
        texts = field["text"] if isinstance(field["text"], list) else [field["text"]]
        places = next((field[name] for name in STARTS if name in field), None)
        yield from placed([str(text) for text in texts], places)
    else:
        inside = json_in(str(field))
        if inside is None:
            yield str(field), None
        else:
            yield from answers_in(inside)


def placed(texts: Sequence[str], places: Any) -> list[Said]:
    """Answers and their places, or None for each. Raises ValueError where there are not as many."""
    starts: Sequence[int | None] = [None] * len(texts) if places is None else [*numbers_in(places)]
    if len(starts) != len(texts):
        raise ValueError(f"{len(texts)} texts and {len(starts)} places, expected as many; add or remove some")
    return list(zip(texts, starts, strict=True))


def json_in(field: str) -> Any:
    """The object or list that is written in a text; None where it is no more than text, as '[1]' may be."""
    if not field.startswith(("{", "[")):
        return None
    try:
        value = json.loads(field)
    except (ValueError, RecursionError):
        return None
    items = value if isinstance(value, list) else [value]
    fits = all(isinstance(item, str) or (isinstance(item, dict) and "text" in item) for item in items)
    return value if fits else None


def numbers_in(field: Any) -> Iterator[int]:
    """Places: a number, a list of some, or either as text. Raises ValueError for anything else."""
    if isinstance(field, str) and field.startswith("["):
        field = json.loads(field)
    for one in field if isinstance(field, list) else [field]:
        try:
            yield int(one)
        except (TypeError, ValueError):
            raise ValueError(f"its place is {excerpt(str(one))}, expected a number of characters") from None


def located(context: str, text: str, start: int | None) -> Answer:
    """An answer and where it really stands in its context."""
    if start is not None and start >= 0 and context.startswith(text, start):
        return Answer(text, start)
    first = context.find(text)
    if first < 0:
        return Answer(text, -1, "absent")
    if start is None:
        return Answer(text, first, "found" if context.find(text, first + 1) < 0 else "first")
    before, after = context.rfind(text, 0, max(start, 0) + len(text)), context.find(text, max(start, 0))
    return Answer(text, min((at for at in (before, after) if at >= 0), key=lambda at: abs(at - start)), "mended")


def remarks(answers: npt.NDArray[np.object_]) -> list[str]:
    """What had to be done to the answers of a table, counted."""
    said = {
        "mended": "answers did not stand where they were said to, and were taken from where they stand",
        "first": "answers stand in their contexts several times, and the first place was taken",
        "absent": "answers are not in their contexts, so they only serve to judge others by",
    }
    places = [answer.place for row in answers for answer in row]
    return [f"{places.count(place):,} of {len(places):,} {words}" for place, words in said.items() if place in places]
