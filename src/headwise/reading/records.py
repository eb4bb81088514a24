"""Records: the rows of one file, every column as text, each row knowing the line it came from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwise.errors import InputError, excerpt


@dataclass(frozen=True, eq=False)
class Records:
    """The rows of one file.

    path: as the user wrote it.
    table: every column holds text, or lists of text; never null.
    notes: what was guessed while reading, in words, to be printed.
    """

    path: str
    table: pa.Table
    notes: tuple[str, ...] = ()
    each_line: Callable[[], Iterator[int]] | None = field(default=None, repr=False)  # of all its rows; None: no lines
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False)  # rows of the file, once some were selected

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in the file's order."""
        return tuple(self.table.column_names)

    def line(self, row: int) -> int:
        """The line of the file where this row begins, from 1; where a file has no lines, the row's number, from 1.

        Reads the file again, so it is meant for messages.
        """
        return int(self.lines(np.array([row]))[0])

    def lines(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The same of several rows, in their order, for one reading of the file. Raises InputError where it shrank."""
        rows = rows if self.rows is None else self.rows[rows]
        if self.each_line is None or not len(rows):
            return rows + 1
        lines = np.fromiter(islice(self.each_line(), int(rows.max()) + 1), np.int64)
        if len(lines) <= rows.max():
            raise InputError(f"{self.path}: changed while it was in use, it has fewer rows now; start again")
        return lines[rows]

    @property
    def unit(self) -> str:
        """What line() counts: 'line', or 'row' where the file has no lines."""
        return "row" if self.each_line is None else "line"

    def where(self, row: int) -> str:
        """The place of this row in words: 'reviews.csv, line 7' or 'reviews.parquet, row 7'."""
        return f"{self.path}, {self.unit} {self.line(row)}"

    def select(self, rows: npt.NDArray[np.int64]) -> Records:
        """These rows, in this order; they keep their lines."""
        origin = rows if self.rows is None else self.rows[rows]
        return replace(self, table=self.table.take(pa.array(rows)), rows=origin)


def from_columns(columns: Mapping[str, Sequence[Any]]) -> Records:
    """Records from data in memory: text stays as it is, a list becomes a list of text, a number its `str`, and what
    is nested deeper JSON.

    Raises InputError where a value is missing (None or NaN), or the columns differ in length.
    """
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise InputError(f"<memory>: the columns have {min(lengths)} to {max(lengths)} rows; give each as many")
    place = lambda row: f"<memory>, row {row + 1}"  # noqa: E731
    return Records("<memory>", pa.table({name: text_array(values, name, place) for name, values in columns.items()}))


def text_array(values: Sequence[Any], name: str, place: Callable[[int], str], like: Any = None) -> Any:
    """A column's values as an Arrow array of text, or of lists of text; what is nested deeper becomes JSON.

    place: the place of a value in words, for messages.
    like: the type of the column's earlier values, if any.

    Raises InputError where a value is missing, a list among texts (or the reverse), or no valid Unicode.
    """
    if like != _LISTS and all(type(value) is str for value in values):
        texts = values  # the usual case, fast
    else:
        texts = [_as_text(value) for value in values]
        lists = like == _LISTS if like is not None else isinstance(texts[0], list)
        for row, text in enumerate(texts):
            if text is None or (isinstance(text, list) and None in text):
                raise InputError(
                    f"{place(row)}: no value (null) in column {excerpt(name)}; give one or leave out the row"
                )
            if isinstance(text, list) != lists:
                kinds = ("text", "a list") if lists else ("a list", "text")
                raise InputError(f"{place(row)}: {kinds[0]} in column {excerpt(name)}, expected {kinds[1]} as above")
        like = _LISTS if lists else None
    try:
        return pa.array(texts, like or pa.string())
    except UnicodeEncodeError as error:
        row = next(row for row, text in enumerate(texts) if not _is_unicode(text))
        raise InputError(
            f"{place(row)}: half a surrogate pair in column {excerpt(name)}, not a character; remove it"
        ) from error


_LISTS = pa.list_(pa.string())


def _as_text(value: Any) -> Any:
    """Text, a list of texts, or None for a missing value."""
    if value is None or (isinstance(value, (float, np.floating)) and value != value):
        return None
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas', which is not needed here
        return None
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_as_json(item) if is_nested(item) else _as_text(item) for item in value]
    return _as_json(value) if is_nested(value) else str(value)


def is_nested(value: Any) -> bool:
    """Whether a value of a column, or of a list in one, has to become JSON."""
    return isinstance(value, (dict, list, tuple, np.ndarray))


def _as_json(value: Any) -> str:
    plain = lambda part: part.tolist() if isinstance(part, (np.ndarray, np.generic)) else str(part)  # noqa: E731
    return json.dumps(value, ensure_ascii=False, default=plain)


def _is_unicode(text: str | list[str]) -> bool:
    return not re.search("[\ud800-\udfff]", "".join(text))
