"""Questions nested in their contexts, and these in articles, as SQuAD's own files have them: made one a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwise.errors import InputError
from headwise.reading.records import Records

INSIDE = {"data": "paragraphs", "paragraphs": "qas", "qas": "question"}
"""A list of the file -> what each of its items must have."""
KEPT = ("title", "id", "question", "context")


def unrolled(records: Records) -> Records:
    """A row for each question: title, id, question, context and answers, as far as there are any; else as it is.

    Each knows the line of the file it came from. Raises InputError for what is nested otherwise.
    """
    if not any(nests(records, level) for level in INSIDE):
        return records
    rows, origin = [], []
    for number, row in enumerate(records.table.to_pylist()):
        try:
            found = list(questions_in(row, {}))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise InputError(
                f"{records.where(number)}: expected SQuAD's nesting, data of paragraphs of a context and qas, and qas "
                "of a question and answers; mend it, or write one question a line: question, context, answers"
            ) from None
        rows += found
        origin += [number] * len(found)
    if not rows:
        raise InputError(f"{records.path}: holds no question; add some")
    names = [name for name in (*KEPT, "answers") if any(name in row for row in rows)]
    columns = {name: [row.get(name, "[]" if name == "answers" else "") for row in rows] for name in names}
    note = f"{records.path}: {len(rows):,} questions nested as in SQuAD, read as one a row"
    notes = [one for one in records.notes if not one.endswith("read as JSON")]
    table, kept = pa.table(columns), np.array(origin)
    return replace(
        records, table=table, notes=(*notes, note), rows=kept if records.rows is None else records.rows[kept]
    )


def nests(records: Records, level: str) -> bool:
    """Whether a column of this name holds lists of what belongs in it."""
    if level not in records.columns or not records.has_lists(level):
        return False
    first = next((item for row in records.table[level].to_pylist() for item in row), "")
    return first.startswith("{") and f'"{INSIDE[level]}"' in first


def questions_in(item: Mapping[str, Any], outer: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Every question in a row, an article, a context or itself, with what is said of it further out."""
    mine = {**outer, **{name: text(item[name]) for name in KEPT if name in item}}
    level = next((level for level in INSIDE if level in item), None)
    if level is not None:
        for part in item[level]:
            yield from questions_in(json.loads(part) if isinstance(part, str) else part, mine)
        return
    if not {"question", "context"} <= mine.keys():
        raise KeyError
    answers = {"answers": json.dumps(item["answers"], ensure_ascii=False)} if "answers" in item else {}
    yield mine | answers


def text(value: Any) -> str:
    """A value that has to be text. Raises TypeError where it is none."""
    if not isinstance(value, str | int):
        raise TypeError
    return str(value)
