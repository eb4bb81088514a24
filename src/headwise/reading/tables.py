"""Reading tables of text: .csv, .tsv, .jsonl and .json (plain or .gz) and .parquet; nothing is guessed unsaid."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from headwise.errors import InputError, excerpt, listing
from headwise.reading.encodings import load, unreadable
from headwise.reading.objects import objects
from headwise.reading.records import Records, is_nested, text_array, without_nulls

THREADED = 2**24  # bytes; a thread that lets go of the last ones after Python has ended would abort the process
_KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
_NAMELESS = "\0"  # begins what a column is called whose name is empty, until it is known whether it holds anything
_BLOCK = 1 << 24  # bytes of a delimited file that Arrow parses at a time
_CHUNK = 4096  # objects of a JSON file made columns at a time


def read(path: str | os.PathLike[str], *, delimiter: str | None = None, quote: bool | None = None) -> Records:
    """The rows of a file, every column as text: "NA" and "" stay as they are; "01", "1" and "1.0" stay distinct.

    delimiter: of a .csv or .tsv; else a comma (or what the header holds instead: ; tab |), and a tab.
    quote: whether "…" may enclose a field (RFC 4180); else yes in .csv, no in .tsv.

    A blank line is skipped, but in a file of one column it is an empty text. Values nested deeper than lists of text
    become JSON, and the notes say so.

    Raises InputError for whatever is wrong with the file, naming the line.
    """
    name = os.fspath(path)
    kind = kind_of(name)
    if kind not in ("csv", "tsv") and (delimiter, quote) != (None, None):
        raise InputError(f"{name}: a delimiter and quoting belong to .csv and .tsv; leave them out for .{kind}")
    if os.path.isdir(name):
        raise InputError(f"{name}: is a folder, expected a file; name one of the files in it")
    if os.path.exists(name) and not os.path.isfile(name):  # messages read it again, to tell lines
        raise InputError(f"{name}: is a pipe or a device, expected a file; save it as one first")
    if kind == "parquet":
        return _read_parquet(name)
    data, encoding = load(name)
    notes = (f"{name}: encoding {encoding}",) if encoding else ()
    if kind in ("json", "jsonl"):
        records = _read_objects(name, data, notes)
    else:
        records = _read_delimited(name, data, notes, kind, delimiter, quote)
    return replace(records, encoding=encoding)


def kind_of(name: str) -> str:
    """The format by the file's extension."""
    base, extension = os.path.splitext(name.lower())
    zipped = extension == ".gz"
    if zipped:
        extension = os.path.splitext(base)[1]
    kind = _KINDS.get(extension, "")
    if not kind or (zipped and kind == "parquet"):
        found = extension + ".gz" * zipped if extension else "no extension"
        raise InputError(
            f"{name}: {found} is not a format read or written here; "
            "use .csv, .tsv, .jsonl or .json (each also as .gz) or .parquet, or rename what is one of these"
        )
    return kind


# Delimited text


@dataclass(frozen=True)
class _Dialect:
    delimiter: str
    quote: bool


class _Row(NamedTuple):
    line: int  # where it begins, from 1
    fields: list[bytes]  # as written, quotation marks included
    fault: str  # what is wrong with its quotation marks, or nothing
    end: int  # the position just past it


def _read_delimited(
    name: str, data: bytes, notes: tuple[str, ...], kind: str, delimiter: str | None, quote: bool | None
) -> Records:
    if delimiter is None:
        delimiter = _guess_delimiter(data) if kind == "csv" else "\t"
        if kind == "csv" and delimiter != ",":
            notes += (f"{name}: delimiter {'tab' if delimiter == chr(9) else delimiter} (the header has no comma)",)
    elif len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise InputError(f"{name}: delimiter {excerpt(delimiter)}, expected one character such as , or ; or |")
    dialect = _Dialect(delimiter, kind == "csv" if quote is None else quote)
    if re.match(rb"sep=.\r?\n", data):
        raise InputError(f"{name}, line 1: a word to Excel, not the names of the columns; delete the line")
    names, start = _header(name, data, dialect)
    if re.compile(rb"[^\r\n]").search(data, start) is None:
        raise InputError(f"{name}: a header and no rows; add rows below it")
    if dialect.quote and not _plainly_quoted(data, dialect):
        _refuse_malformed(name, data, dialect, names)
    try:
        table = _parse(data, start, names, dialect, _BLOCK)
    except pa.ArrowInvalid:
        _refuse_malformed(name, data, dialect, names)
        table = _parse(data, start, names, dialect, len(data))  # nothing wrong but a row longer than a block
    records = Records(name, table, notes, partial(_delimited_lines, name, dialect))
    return _without_nameless(replace(records, delimiter=delimiter, quoted=dialect.quote) if kind == "csv" else records)


def _without_nameless(records: Records) -> Records:
    """Without the columns behind the last name, which is noted. Raises InputError where one of them holds something."""
    nameless = [column for column in records.columns if column.startswith(_NAMELESS)]
    if not nameless:
        return records
    for column in nameless:
        values = records.table[column]
        filled = pc.index(pc.not_equal(pc.utf8_trim_whitespace(values), ""), True).as_py()
        if filled >= 0:
            raise InputError(
                f"{records.where(filled)}: {excerpt(values[filled].as_py())} in column "
                f"{records.columns.index(column) + 1}, which has no name; name it in the header, or empty it"
            )
    columns = "a column" if len(nameless) == 1 else f"{len(nameless)} columns"
    said = f"{records.path}: left out {columns} with neither a name nor a value"
    return replace(records, table=records.table.drop_columns(nameless), notes=(*records.notes, said))


def _plainly_quoted(data: bytes, dialect: _Dialect) -> bool:
    """Whether quotation marks open behind a delimiter, close before one, and else come twice: no stray ones.

    Arrow drops a stray mark and closes an open one at the end of the file, so whole rows could vanish in a text.
    """
    codes = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(codes == ord('"'))
    before = codes[np.maximum(marks[::2] - 1, 0)]  # of each opening mark, or second of two
    after = codes[np.minimum(marks[1::2] + 1, len(codes) - 1)]  # of each closing mark, or first of two
    fit = np.frombuffer(b'"\r\n' + dialect.delimiter.encode(), np.uint8)
    return len(marks) % 2 == 0 and bool(np.isin(before, fit).all() and np.isin(after, fit).all())


def _guess_delimiter(data: bytes) -> str:
    """The comma; where the header has none, the one of ; tab | that it holds most often."""
    header = re.compile(rb"[^\r\n]+").search(data)
    counts = {mark: header[0].count(mark.encode()) if header else 0 for mark in ";\t|"}
    most = max(counts, key=lambda mark: counts[mark])
    return "," if not counts[most] or (header and b"," in header[0]) else most


def _rows(data: bytes, dialect: _Dialect) -> Iterator[_Row]:
    """The rows as written, blank lines included. Slow, but it knows the lines, which Arrow's parser does not tell."""
    mark = re.escape(dialect.delimiter.encode())
    quoted = rb'(?:"(?:[^"]+|"")*("?))?' if dialect.quote else rb"(\b\B)?"  # the latter never matches
    pattern = re.compile(quoted + rb"([^" + mark + rb"\r\n]*)(" + mark + rb"|\r\n|\r|\n|\Z)")
    fields: list[bytes] = []
    line, following, fault = 1, 1, ""
    for match in pattern.finditer(data):
        if match.start() == len(data) and not fields:
            return
        close, rest, end = match.groups()
        if close == b"":
            fault = "a quotation mark that is never closed"
        elif close and rest:
            fault = fault or "text behind a closing quotation mark"
        fields.append(data[match.start() : match.start(3)])
        following += len(re.findall(rb"\r\n|\r|\n", match[0]))
        if end != dialect.delimiter.encode():
            yield _Row(line, fields, fault, match.end())
            line, fields, fault = following, [], ""


def _header(name: str, data: bytes, dialect: _Dialect) -> tuple[list[str], int]:
    """The names of the columns, and the position just past the header."""
    row = next(row for row in _rows(data, dialect) if row.fields != [b""])
    if row.fault:
        raise _misquoted(name, row)
    fields = [field.decode() for field in row.fields]
    if dialect.quote:
        fields = [field[1:-1].replace('""', '"') if field.startswith('"') else field for field in fields]
    last = max((number for number, field in enumerate(fields) if field.strip()), default=0)
    _refuse_names(f"{name}, line {row.line}", fields[: last + 1])
    nameless = [f"{_NAMELESS}{number}" for number in range(len(fields) - last - 1)]  # which spreadsheets leave behind
    return fields[: last + 1] + nameless, row.end


def _refuse_names(where: str, names: Sequence[str]) -> None:
    """Raises InputError where a column has no name, or two have the same."""
    seen: set[str] = set()
    for number, column in enumerate(names):
        if not column.strip():
            raise InputError(f"{where}: column {number + 1} has no name; name it in the header")
        if column in seen:
            raise InputError(f"{where}: two columns are named {excerpt(column)}; rename or remove one")
        seen.add(column)


def _misquoted(name: str, row: _Row) -> InputError:
    return InputError(
        f"{name}, line {row.line}: {row.fault}, in the row that begins here; close it, write it twice "
        "where it is part of a quoted text, or switch quoting off (--no-quote) where it never encloses"
    )


def _refuse_malformed(name: str, data: bytes, dialect: _Dialect, names: Sequence[str]) -> None:
    """Raises InputError at the first row with misplaced quotation marks or the wrong number of fields."""
    remedy = "put a text that holds the delimiter in quotation marks" if dialect.quote else "take it out of the text"
    named = [column for column in names if not column.startswith(_NAMELESS)]
    for row in _rows(data, dialect):
        if row.fault:
            raise _misquoted(name, row)
        if len(row.fields) != len(names) and row.fields != [b""]:
            raise InputError(
                f"{name}, line {row.line}: {len(row.fields)} fields, expected {len(names)} ({listing(named)}) "
                f"between delimiters {excerpt(dialect.delimiter)}; {remedy}, or give another with --delimiter"
            )


def _parse(data: bytes, start: int, names: Sequence[str], dialect: _Dialect, block: int) -> pa.Table:
    return pa.csv.read_csv(
        pa.BufferReader(pa.py_buffer(data).slice(start)),
        pa.csv.ReadOptions(column_names=names, block_size=min(block, 2**31 - 1), use_threads=len(data) > THREADED),
        pa.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char='"' if dialect.quote else False,
            newlines_in_values=dialect.quote and data.find(b'"', start) >= 0,
            ignore_empty_lines=len(names) > 1,
        ),
        pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )


def _delimited_lines(name: str, dialect: _Dialect) -> Iterator[int]:
    """The line where each row of a delimited file begins."""
    rows = _rows(load(name)[0], dialect)
    header = next(row for row in rows if row.fields != [b""])
    return (row.line for row in rows if row.fields != [b""] or len(header.fields) == 1)


# Objects


def _read_objects(name: str, data: bytes, notes: tuple[str, ...]) -> Records:
    chunks: dict[str, list[pa.Array]] = {}
    nested: set[str] = set()
    found = objects(name, data)
    while chunk := list(islice(found, _CHUNK)):
        lines, items = zip(*chunk, strict=True)
        if not chunks:
            _refuse_names(f"{name}, line {lines[0]}", list(items[0]))
            chunks = {column: [] for column in items[0]}
        for line, item in chunk:
            if item.keys() != chunks.keys():
                raise _wrong_keys(f"{name}, line {line}", item, list(chunks))
        for column in chunks:
            values = [item[column] for item in items]
            like = chunks[column][0].type if chunks[column] else None
            chunks[column].append(text_array(values, column, partial(_json_place, name, lines), like))
            if column not in nested and any(map(_is_deep, values)):
                nested.add(column)
    columns = {column: pa.chunked_array(arrays) for column, arrays in chunks.items()}
    return _finish(Records(name, pa.table(columns), notes, partial(_json_lines, name)), nested, set())


def _is_deep(value: Any) -> bool:
    """Whether a value is more than text or a list of text."""
    return any(map(is_nested, value)) if isinstance(value, list) else is_nested(value)


def _json_place(name: str, lines: Sequence[int], row: int) -> str:
    return f"{name}, line {lines[row]}"


def _wrong_keys(where: str, item: Mapping[str, Any], expected: Sequence[str]) -> InputError:
    missing = [key for key in expected if key not in item]
    surplus = [key for key in item if key not in expected]
    found = f"key {excerpt(missing[0])} is missing" if missing else f"key {excerpt(surplus[0])} is not in the first row"
    return InputError(f"{where}: {found}; expected {listing(expected)} in every row; add or remove it")


def _json_lines(name: str) -> Iterator[int]:
    """The line where each row of a file of objects begins."""
    return (line for line, _ in objects(name, load(name)[0]))


# Parquet


def _read_parquet(name: str) -> Records:
    try:
        raw = Path(name).read_bytes()
    except OSError as error:
        raise unreadable(name, error) from error
    try:
        table = pa.parquet.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: not a whole Parquet file ({str(error)[:80]}); fetch or write it again") from error
    _refuse_names(name, table.column_names)
    if not table.num_rows:
        raise InputError(f"{name}: columns and no rows; add rows")
    columns: dict[str, Any] = {}
    nested, left_out = set(), set()
    for column, values in zip(table.column_names, table.columns, strict=True):
        array = _parquet_text(values)
        if array is None and pa.types.is_nested(values.type):
            array = text_array(values.to_pylist(), column, lambda row: f"{name}, row {row + 1}")
            nested.add(column)
        if array is None:
            left_out.add(column)
        else:
            columns[column] = array
    return _finish(Records(name, pa.table(columns)), nested, left_out)


def _parquet_text(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The values as text, or as lists of text; None where they are nested deeper or are no text."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)  # NaN stands for a missing value
        told = (None if one is None else str(one) for one in values.to_pylist())  # 1.0, which Arrow writes as 1
        return pa.chunked_array([pa.array(told, pa.string())])
    for kind in (pa.string(), pa.list_(pa.string())):
        try:
            return values.cast(kind)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
            continue
    return None


def _finish(records: Records, nested: set[str], left_out: set[str]) -> Records:
    """The records with notes on the columns that hold JSON, on those left out, and on values that are missing.

    Raises InputError where a list is null or holds one, or a NUL character is somewhere, or no column is left.
    """
    notes = []
    if nested:
        notes.append(f"{records.path}: columns {listing(sorted(nested))} hold nested values, read as JSON")
    if left_out:
        notes.append(f"{records.path}: left out columns {listing(sorted(left_out))}, neither text nor lists of text")
    records = without_nulls(replace(records, notes=(*records.notes, *notes)))
    if not records.columns:
        raise InputError(f"{records.path}: no column holds text or lists of text; expected some to")
    for column in records.columns:
        values = records.table[column]
        _refuse_where(records, pc.is_null(values), f"no value (null) in column {excerpt(column)}; give one")
        if pa.types.is_list(values.type):
            owners, values = pc.list_parent_indices(values), pc.list_flatten(values)
            _refuse_where(records, pc.is_null(values), f"null in a list of column {excerpt(column)}; remove it", owners)
        else:
            owners = None
        found = pc.match_substring(values, "\0")
        _refuse_where(records, found, f"a NUL character in column {excerpt(column)}; remove it", owners)
    return records


def _refuse_where(records: Records, found: pa.ChunkedArray, fault: str, owners: Any = None) -> None:
    """Raises InputError at the first row where the fault is found; owners: the row of each item of a list."""
    position = pc.index(found, True).as_py()
    if position >= 0:
        row = position if owners is None else owners[position].as_py()
        raise InputError(f"{records.where(row)}: {fault}, or leave out the row")
