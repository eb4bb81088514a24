"""Records: the rows of one file, every column as text, each row knowing the line it came from."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwise.errors import InputError, excerpt, listing


@dataclass(frozen=True, eq=False)
class Records:
    """The rows of one file.

    path: as the user wrote it.
    table: every column holds text, or lists of text; never null.
    notes: what was guessed while reading, in words, to be printed.
    encoding: of the file, in words; empty for plain UTF-8.
    delimiter: between the fields of a csv.
    """

    path: str
    table: pa.Table
    notes: tuple[str, ...] = ()
    each_line: Callable[[], Iterator[int]] | None = field(default=None, repr=False)  # of all its rows; None: no lines
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False)  # rows of the file, once some were selected
    encoding: str = ""
    delimiter: str = ","
    quoted: bool = True  # whether quotation marks hold fields together, and are none of the text

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

    def has_lists(self, column: str) -> bool:
        """Whether a column holds lists of text."""
        return bool(pa.types.is_list(self.table.schema.field(column).type))

    def select(self, rows: npt.NDArray[np.int64]) -> Records:
        """These rows, in this order; they keep their lines."""
        origin = rows if self.rows is None else self.rows[rows]
        return replace(self, table=self.table.take(pa.array(rows)), rows=origin)


def from_columns(columns: Any) -> Records:
    """Records from data in memory, a mapping of columns or a table of pandas, polars or Arrow: text stays as it is, a
    list becomes a list of text, a number its `str`, what is nested deeper JSON, and what is missing (None, NaN) empty.

    Raises InputError for what has no columns or two of a name, where a list or a value in one is missing, or the
    columns differ in length.
    """
    names = columns.column_names if isinstance(columns, pa.Table) else getattr(columns, "columns", columns)
    if not isinstance(columns, Mapping) and names is columns:
        raise InputError(
            f"found a {type(columns).__name__}, expected the path of a table, or columns: "
            "{'text': […], 'label': […]}, a DataFrame, an Arrow table"
        )
    if twice := [name for name, times in Counter([*names]).items() if times > 1]:
        raise InputError(f"<memory>: several columns are called {excerpt(str(twice[0]))}; rename them")
    values = {name: values_of(columns, name) for name in names}
    lengths = {len(each) for each in values.values()}
    if len(lengths) > 1:
        raise InputError(f"<memory>: the columns have {min(lengths)} to {max(lengths)} rows; give each as many")
    place = lambda row: f"<memory>, row {row + 1}"  # noqa: E731
    table = pa.table({name: text_array(each, name, place) for name, each in values.items()})
    return without_nulls(Records("<memory>", table))


def values_of(columns: Any, name: Any) -> list[Any]:
    """A column's values. Raises InputError for a name that is no text, and for what is no column."""
    if not isinstance(name, str):
        raise InputError(f"<memory>: a column is called {name!r}, expected text; rename it")
    values = columns[name]
    if hasattr(values, "to_pylist"):  # Arrow's, whose own items are no values of Python
        return list(values.to_pylist())
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise InputError(f"<memory>: column {excerpt(name)} is a {type(values).__name__}, expected a list of values")
    return list(values)


def text_array(values: Sequence[Any], name: str, place: Callable[[int], str], like: Any = None) -> Any:
    """A column's values as an Arrow array of text, null where one is missing, or of lists of text; what is nested
    deeper becomes JSON.

    place: the place of a value in words, for messages.
    like: the type of the column's earlier values, if any.

    Raises InputError where a list or a value in one is missing, a list stands among texts (or the reverse), or no valid
    Unicode.
    """
    if like != _LISTS and all(type(value) is str for value in values):
        texts = values  # the usual case, fast
    else:
        texts = [as_text(value) for value in values]
        there = next((text for text in texts if text is not None), None)
        lists = like == _LISTS if like is not None else isinstance(there, list)
        for row, text in enumerate(texts):
            if (lists and text is None) or (isinstance(text, list) and None in text):
                raise InputError(
                    f"{place(row)}: no value (null) in column {excerpt(name)}, which holds lists; give one, or leave "
                    "out the row"
                )
            if text is not None and isinstance(text, list) != lists:
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


def without_nulls(records: Records) -> Records:
    """The same, where a value that is missing is empty text, as it is in a csv; a note says of which columns."""
    table = records.table
    lacking = [name for name in table.column_names if table[name].null_count and table[name].type == pa.string()]
    for name in lacking:
        table = table.set_column(table.column_names.index(name), name, table[name].fill_null(""))
    some = "column" if len(lacking) == 1 else "columns"
    said = [f"{records.path}: no value (null) in some rows of {some} {listing(lacking)}, read as empty"]
    return replace(records, table=table, notes=(*records.notes, *(said if lacking else [])))


def as_text(value: Any) -> Any:
    """Text, a list of texts, or None for a missing value."""
    if value is None or (isinstance(value, Number) and value != value):
        return None
    if type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):  # of pandas, which is no need, and of numpy
        return None
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")  # what is no UTF-8 is refused like half a surrogate pair
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_as_json(item) if is_nested(item) else as_text(item) for item in value]
    return _as_json(value) if is_nested(value) else str(value)


def is_nested(value: Any) -> bool:
    """Whether a value of a column, or of a list in one, has to become JSON."""
    return isinstance(value, (dict, list, tuple, np.ndarray))


def _as_json(value: Any) -> str:
    plain = lambda part: part.tolist() if isinstance(part, (np.ndarray, np.generic)) else str(part)  # noqa: E731
    return json.dumps(value, ensure_ascii=False, default=plain)


def _is_unicode(text: str | list[str]) -> bool:
    return not re.search("[\ud800-\udfff]", "".join(text))
