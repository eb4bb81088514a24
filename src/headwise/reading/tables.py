"""Reading and writing tables of text: .csv, .tsv, .jsonl (plain or .gz) and .parquet; nothing is guessed unsaid."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from headwise.errors import InputError, excerpt, listing
from headwise.reading.records import Records, text_array

_KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
_BLOCK = 1 << 24  # bytes of a delimited file that Arrow parses at a time
_CHUNK = 4096  # lines of a JSON Lines file parsed at a time


def read(path: str | os.PathLike[str], *, delimiter: str | None = None, quote: bool | None = None) -> Records:
    """The rows of a file, every column as text: "NA" and "" stay as they are; "01", "1" and "1.0" stay distinct.

    delimiter: of a .csv or .tsv; else a comma (or what the header holds instead: ; tab |), and a tab.
    quote: whether "…" may enclose a field (RFC 4180); else yes in .csv, no in .tsv.

    A blank line is skipped, but in a file of one column it is an empty text. Columns of nested values are left out,
    and the notes say so.

    Raises InputError for whatever is wrong with the file, naming the line.
    """
    name = os.fspath(path)
    kind = _kind(name)
    if kind not in ("csv", "tsv") and (delimiter, quote) != (None, None):
        raise InputError(f"{name}: a delimiter and quoting belong to .csv and .tsv; leave them out for .{kind}")
    if os.path.isdir(name):
        raise InputError(f"{name}: is a folder, expected a file; name one of the files in it")
    if kind == "parquet":
        return _read_parquet(name)
    data, notes = _load(name)
    if kind == "jsonl":
        return _read_json_lines(name, data, notes)
    return _read_delimited(name, data, notes, kind, delimiter, quote)


def _kind(name: str) -> str:
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
            "use .csv, .tsv or .jsonl (each also as .gz) or .parquet"
        )
    return kind


# Bytes and encodings


def _load(name: str) -> tuple[bytes, tuple[str, ...]]:
    """The text of a file as UTF-8, unzipped, and a note on its encoding unless that is plain UTF-8."""
    try:
        raw = Path(name).read_bytes()
        if name.lower().endswith(".gz"):
            raw = gzip.decompress(raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{name}: not a whole gzip file ({error}); fetch or compress it again") from error
    except OSError as error:
        raise _unreadable(name, error) from error
    data, encoding = _to_utf8(name, raw)
    if not data or data.isspace():
        raise InputError(f"{name}: the file is empty; expected a header and rows")
    if (position := data.find(b"\0")) >= 0:
        raise InputError(
            f"{name}, line {_line_at(data, position)}: a NUL character; remove it (for example with tr -d '\\000')"
        )
    return data, (f"{name}: encoding {encoding}",) if encoding else ()


def _unreadable(name: str, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{name}: no such file; check the path (the current folder is {os.getcwd()})")
    return InputError(f"{name}: cannot be read ({error.strerror or error}); check its permissions and the disk")


def _line_at(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _to_utf8(name: str, raw: bytes) -> tuple[bytes, str]:
    """The bytes as UTF-8 and the encoding in words, empty for plain UTF-8."""
    if utf16 := _utf16(raw):
        try:
            return raw.decode(utf16).removeprefix("\ufeff").encode(), "UTF-16"
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}: begins as UTF-16, but byte {error.start + 1} breaks it; save the file again as UTF-8"
            ) from error
    marked = raw.startswith(codecs.BOM_UTF8)
    data = raw.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return _from_gb18030(name, data, error.start), "GB18030 (not valid UTF-8)"
    return data, "UTF-8 with a byte order mark" if marked else ""


def _utf16(raw: bytes) -> str:
    """The variant of UTF-16 these bytes are in, by byte order mark or by where their NULs stand; else empty."""
    if raw.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if raw.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    sample = raw[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) <= 2 * min(even, odd):  # NULs are the high bytes of ASCII, and the low byte of a few ideographs
        return ""
    variant, newline = ("utf-16-be", b"\0\n") if even > odd else ("utf-16-le", b"\n\0")
    mostly_ascii = 4 * max(even, odd) > len(sample)
    if not mostly_ascii and (newline not in sample or _decodes(raw, "utf-8")):  # then these are stray NULs
        return ""
    return variant if _decodes(raw, variant) else ""


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _from_gb18030(name: str, data: bytes, position: int) -> bytes:
    """GB18030 as UTF-8; position is where the bytes stop being UTF-8.

    Raises InputError where the file is damaged UTF-8, or in some other encoding: many decode as GB18030 by accident.
    """
    replaced = data.decode(errors="replace")
    damaged = replaced.count("\ufffd")
    whole = len(replaced) - len(replaced.encode("ascii", "ignore")) - damaged  # well-formed characters beyond ASCII
    try:
        text = data.decode("gb18030") if whole <= damaged else ""
    except UnicodeDecodeError:
        text = ""
    if _reads_as_chinese(text):
        return text.encode()
    remedy = "repair it" if whole > damaged else "convert the file to UTF-8, for example: iconv -f ENCODING -t UTF-8"
    rest = "the rest is mostly UTF-8" if whole > damaged else "nor does the file read as GB18030 or UTF-16"
    column = position - data.rfind(b"\n", 0, position)
    raise InputError(
        f"{name}, line {_line_at(data, position)}: byte 0x{data[position]:02X} (byte {column} of the line) "
        f"is not valid UTF-8; {rest}; {remedy}"
    )


# Ideographs, their punctuation, full-width forms, general punctuation and symbols, emoji.
_CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3000-\u303f\uff00-\uffef"
                      "\u00b0\u00b7\u00d7\u2010-\u27bf\ufe0f\U0001f300-\U0001faff]")  # fmt: skip


def _reads_as_chinese(text: str) -> bool:
    """Whether nearly all of the text beyond ASCII is Chinese, in characters that are mostly common ones.

    Latin-1 read as GB18030 gives ideographs too, but rare ones: an accented letter takes the next letter with it.
    """
    beyond = "".join(match[0] for match in islice(re.finditer(r"[^\x00-\x7f]+", text), 100_000))
    common = len(beyond.encode("gb2312", "ignore")) // 2
    return len(_CHINESE.findall(beyond)) >= 0.95 * len(beyond) and 2 * common >= len(beyond) > 0


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
    return Records(name, table, notes, partial(_delimited_line, name, dialect))


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
    _refuse_names(f"{name}, line {row.line}", fields)
    return fields, row.end


def _refuse_names(where: str, names: Sequence[str]) -> None:
    """Raises InputError where a column has no name, or two have the same."""
    for number, column in enumerate(names):
        if not column.strip():
            raise InputError(f"{where}: column {number + 1} of {len(names)} has no name; name it in the header")
        if column in names[:number]:
            raise InputError(f"{where}: two columns are named {excerpt(column)}; rename or remove one")


def _misquoted(name: str, row: _Row) -> InputError:
    return InputError(
        f"{name}, line {row.line}: {row.fault}, in the row that begins here; close it, write it twice "
        "where it is part of a quoted text, or switch quoting off (--no-quote) where it never encloses"
    )


def _refuse_malformed(name: str, data: bytes, dialect: _Dialect, names: Sequence[str]) -> None:
    """Raises InputError at the first row with misplaced quotation marks or the wrong number of fields."""
    remedy = "put a text that holds the delimiter in quotation marks" if dialect.quote else "take it out of the text"
    for row in _rows(data, dialect):
        if row.fault:
            raise _misquoted(name, row)
        if len(row.fields) != len(names) and row.fields != [b""]:
            raise InputError(
                f"{name}, line {row.line}: {len(row.fields)} fields, expected {len(names)} ({listing(names)}) "
                f"between delimiters {excerpt(dialect.delimiter)}; {remedy}, or give another with --delimiter"
            )


def _parse(data: bytes, start: int, names: Sequence[str], dialect: _Dialect, block: int) -> pa.Table:
    return pa.csv.read_csv(
        pa.BufferReader(pa.py_buffer(data).slice(start)),
        pa.csv.ReadOptions(column_names=names, block_size=min(block, 2**31 - 1)),
        pa.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char='"' if dialect.quote else False,
            newlines_in_values=dialect.quote and data.find(b'"', start) >= 0,
            ignore_empty_lines=len(names) > 1,
        ),
        pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )


def _delimited_line(name: str, dialect: _Dialect, row: int) -> int:
    """The line where this row of a delimited file begins."""
    rows = _rows(_load(name)[0], dialect)
    header = next(row for row in rows if row.fields != [b""])
    return _nth(name, (row.line for row in rows if row.fields != [b""] or len(header.fields) == 1), row)


def _nth(name: str, lines: Iterator[int], row: int) -> int:
    line = next(islice(lines, row, None), None)
    if line is None:
        raise InputError(f"{name}: changed while it was in use, it has fewer rows now; start again")
    return line


# JSON Lines


def _read_json_lines(name: str, data: bytes, notes: tuple[str, ...]) -> Records:
    chunks: dict[str, list[pa.Array]] = {}
    nested: set[str] = set()
    for lines, objects in _json_chunks(name, data):
        if not chunks:
            _refuse_names(f"{name}, line {lines[0]}", list(objects[0]))
            chunks = {column: [] for column in objects[0]}
        for line, item in zip(lines, objects, strict=True):
            if item.keys() != chunks.keys():
                raise _wrong_keys(f"{name}, line {line}", item, list(chunks))
        for column in [column for column in chunks if column not in nested]:
            like = chunks[column][0].type if chunks[column] else None
            array = text_array([item[column] for item in objects], column, partial(_json_place, name, lines), like)
            if array is None:
                nested.add(column)
            else:
                chunks[column].append(array)
    columns = {column: pa.chunked_array(arrays) for column, arrays in chunks.items() if column not in nested}
    return _finish(Records(name, pa.table(columns), notes, partial(_json_line, name)), nested)


def _json_place(name: str, lines: Sequence[int], row: int) -> str:
    return f"{name}, line {lines[row]}"


def _json_chunks(name: str, data: bytes) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """Some thousand objects at a time, with their lines. Numbers come as they are written."""
    decode = json.JSONDecoder(
        parse_int=str, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
    ).decode
    filled = ((number, line) for number, line in enumerate(BytesIO(data), 1) if not line.isspace())
    while chunk := list(islice(filled, _CHUNK)):
        objects = []
        for number, line in chunk:
            try:
                item = decode(line.decode())
            except (ValueError, RecursionError) as error:
                raise _malformed(f"{name}, line {number}", line, error) from error
            if not isinstance(item, dict):
                raise _malformed(f"{name}, line {number}", line, ValueError("no object"))
            objects.append(item)
        yield [number for number, _ in chunk], objects


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a value in JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"two values for {excerpt(next(key for key in keys if keys.count(key) > 1))}")
    return item


def _malformed(where: str, line: bytes, error: Exception) -> InputError:
    reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
    if isinstance(error, json.JSONDecodeError):
        where, reason = f"{where}, column {error.colno}", error.msg
    remedy = "a JSON array has to be unrolled first (jq -c '.[]')" if line.lstrip().startswith(b"[") else "correct it"
    return InputError(f"{where}: {reason}; expected one whole JSON object a line; {remedy}")


def _wrong_keys(where: str, item: Mapping[str, Any], expected: Sequence[str]) -> InputError:
    missing = [key for key in expected if key not in item]
    surplus = [key for key in item if key not in expected]
    found = f"key {excerpt(missing[0])} is missing" if missing else f"key {excerpt(surplus[0])} is not in the first row"
    return InputError(f"{where}: {found}; expected {listing(expected)} in every row; add or remove it")


def _json_line(name: str, row: int) -> int:
    """The line of this row of a JSON Lines file."""
    lines = enumerate(BytesIO(_load(name)[0]), 1)
    return _nth(name, (number for number, line in lines if not line.isspace()), row)


# Parquet


def _read_parquet(name: str) -> Records:
    try:
        raw = Path(name).read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from error
    try:
        table = pa.parquet.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: not a whole Parquet file ({str(error)[:80]}); fetch or write it again") from error
    _refuse_names(name, table.column_names)
    if not table.num_rows:
        raise InputError(f"{name}: columns and no rows; add rows")
    columns, nested = {}, set()
    for column, values in zip(table.column_names, table.columns, strict=True):
        array = _parquet_text(values)
        if array is None:
            nested.add(column)
        else:
            columns[column] = array
    return _finish(Records(name, pa.table(columns)), nested)


def _parquet_text(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The values as text, or as lists of text; None where they are nested deeper or are no text."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)  # NaN stands for a missing value
    for kind in (pa.string(), pa.list_(pa.string())):
        try:
            return values.cast(kind)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
            continue
    return None


def _finish(records: Records, nested: set[str]) -> Records:
    """The records with a note on the columns left out.

    Raises InputError where a value is null or holds a NUL character, or no column is left.
    """
    if nested:
        note = f"{records.path}: left out columns {listing(sorted(nested))}, neither text nor lists of text"
        records = replace(records, notes=(*records.notes, note))
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


# Writing


def write(path: str | os.PathLike[str], columns: Mapping[str, Sequence[str | float | Sequence[str]]]) -> None:
    """Writes columns of equal length to a file; its extension says how. The file appears whole or not at all.

    Raises InputError where the file cannot be written, or cannot hold a value: a .tsv no tab or line break, a .csv and
    a .tsv no list. ValueError where a number is not finite (.jsonl) or the columns differ in length.
    """
    name = os.fspath(path)
    kind = _kind(name)
    try:
        with whole_file(name) as file:
            _write_to(file, name, kind, columns)
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: a text holds half a surrogate pair, not a character; remove it") from error


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to that appears under its name when the block ends well, or not at all.

    Raises InputError where it cannot be written.
    """
    name = os.fspath(path)
    part = Path(name).with_name(f".{Path(name).name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(name)
    except OSError as error:
        raise InputError(
            f"{name}: cannot be written ({error.strerror or error}); check that its folder exists, may be written to "
            "and has space left, or choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def holds_lists(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this name can hold several values in one field, as .jsonl and .parquet do."""
    return _kind(os.fspath(path)) in ("jsonl", "parquet")


def refuse_unwritable(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Raises InputError for what keeps write() from writing these columns there, as far as can be told before."""
    name = os.fspath(path)
    kind = _kind(name)
    if os.path.isdir(name):
        raise InputError(f"{name}: is a folder; name a file in it")
    if not Path(name).parent.is_dir():
        raise InputError(f"{name}: cannot be written, there is no folder {Path(name).parent}; make it first")
    if kind in ("csv", "tsv"):
        for _ in _delimited_lines(name, kind, columns, zip(*columns.values(), strict=True)):
            pass


def _write_to(file: BinaryIO, name: str, kind: str, columns: Mapping[str, Sequence[Any]]) -> None:
    if kind == "parquet":
        pa.parquet.write_table(pa.table({column: pa.array(values) for column, values in columns.items()}), file)
        return
    rows = zip(*columns.values(), strict=True)
    lines = _json_lines(columns, rows) if kind == "jsonl" else _delimited_lines(name, kind, columns, rows)
    if name.lower().endswith(".gz"):
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:  # no name and date: same rows, same bytes
            zipped.writelines(line.encode() for line in lines)
    else:
        file.writelines(line.encode() for line in lines)


def _json_lines(names: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    for row in rows:
        plain = [value.item() if isinstance(value, np.generic) else value for value in row]
        yield json.dumps(dict(zip(names, plain, strict=True)), ensure_ascii=False, allow_nan=False) + "\n"


def _delimited_lines(name: str, kind: str, names: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    for number, row in enumerate(chain([tuple(names)], rows)):
        place = f"{name}, {f'row {number}' if number else 'header'}"
        fields = [_csv_field(place, value) if kind == "csv" else _tsv_field(place, value) for value in row]
        line = ("," if kind == "csv" else "\t").join(fields)
        yield (line or '""' if kind == "csv" else line) + "\n"


def _csv_field(place: str, value: Any) -> str:
    text = _flat(place, value)
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


def _tsv_field(place: str, value: Any) -> str:
    text = _flat(place, value)
    if re.search("[\t\r\n]", text):
        raise InputError(
            f"{place}: {excerpt(text)} holds a tab or line break, which a .tsv cannot; write .csv or .jsonl"
        )
    return text


def _flat(place: str, value: Any) -> str:
    if not isinstance(value, (str, int, float, np.generic)):
        raise InputError(f"{place}: a list, which a .csv or .tsv cannot hold; write .jsonl or .parquet")
    return str(value)
