"""Writing tables of text, and any other file, whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from headwise.errors import InputError, excerpt
from headwise.reading.records import Records
from headwise.reading.tables import kind_of


def write(
    path: str | os.PathLike[str],
    columns: Mapping[str, Sequence[str | float | Sequence[str] | None]],
    like: Records | None = None,
) -> None:
    """Writes columns of equal length to a file; its extension says how. The file appears whole or not at all.

    What is missing, None, is an empty field of a .csv or .tsv, and null elsewhere.
    like: the table they come from: whoever wrote that is to read this. A .csv gets its delimiter, and its quotation
    marks where those are no text; where it was no plain UTF-8, a .csv or .tsv begins with a byte order mark, without
    which Excel reads its letters wrong.

    Raises InputError where the file cannot be written, or cannot hold a value: a .tsv no tab or line break, a .csv and
    a .tsv no list. ValueError where a number is not finite (.jsonl, .json) or the columns differ in length.
    """
    name = os.fspath(path)
    kind = kind_of(name)
    try:
        with whole_file(name) as file:
            _write_to(file, name, kind, columns, like)
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: a text holds half a surrogate pair, not a character; remove it") from error


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to that appears under its name when the block ends well, or not at all.

    Raises InputError where it cannot be written.
    """
    name = os.fspath(path)
    if not Path(name).name:
        raise InputError(f"{name or 'the path'}: names no file; name one in it")
    part = Path(name).with_name(f".{secrets.token_hex(6)}.part")  # not of the name, which may be as long as any
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
        with suppress(OSError):  # as what stood in the way of writing it does here, too
            part.unlink(missing_ok=True)


def holds_lists(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this name can hold several values in one field, as .jsonl, .json and .parquet do."""
    return kind_of(os.fspath(path)) in ("json", "jsonl", "parquet")


def refuse_nowhere(path: str | os.PathLike[str]) -> None:
    """Raises InputError where there is no place for a file, as far as can be told before it is written."""
    name = os.fspath(path)
    if os.path.isdir(name):
        raise InputError(f"{name}: is a folder; name a file in it")
    if not Path(name).parent.is_dir():
        raise InputError(f"{name}: cannot be written, there is no folder {Path(name).parent}; make it first")


def refuse_unwritable(path: str | os.PathLike[str]) -> None:
    """Raises InputError where a table of this name cannot be written, as far as can be told before."""
    kind_of(os.fspath(path))
    refuse_nowhere(path)


def refuse_unfit(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Raises InputError for columns that write() cannot write to a file of this name."""
    name = os.fspath(path)
    kind = kind_of(name)
    if kind in ("csv", "tsv"):
        for _ in _delimited_lines(name, kind, columns, zip(*columns.values(), strict=True)):
            pass


def _write_to(file: BinaryIO, name: str, kind: str, columns: Mapping[str, Sequence[Any]], like: Records | None) -> None:
    if kind == "parquet":
        pa.parquet.write_table(pa.table({column: pa.array(values) for column, values in columns.items()}), file)
        return
    rows = zip(*columns.values(), strict=True)
    if kind in ("json", "jsonl"):
        objects = _objects(columns, rows)
        lines = _array(objects) if kind == "json" else (f"{line}\n" for line in objects)
    else:
        mark = ["\ufeff"] if like is not None and like.encoding else []
        lines = chain(mark, _delimited_lines(name, kind, columns, rows, like))
    if name.lower().endswith(".gz"):
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:  # no name and date: same rows, same bytes
            zipped.writelines(line.encode() for line in lines)
    else:
        file.writelines(line.encode() for line in lines)


def _objects(names: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    for row in rows:
        plain = [value.item() if isinstance(value, np.generic) else value for value in row]
        yield json.dumps(dict(zip(names, plain, strict=True)), ensure_ascii=False, allow_nan=False)


def _array(objects: Iterable[str]) -> Iterator[str]:
    """An array of them, one a line."""
    yield "["
    for number, line in enumerate(objects):
        yield f"{',' if number else ''}\n{line}"
    yield "\n]\n"


def _delimited_lines(
    name: str, kind: str, names: Iterable[str], rows: Iterable[tuple[Any, ...]], like: Records | None = None
) -> Iterator[str]:
    """Lines of a .tsv, or of a .csv such as another table's is."""
    delimiter, quoted = (",", True) if like is None else (like.delimiter, like.quoted)
    for number, row in enumerate(chain([tuple(names)], rows)):
        place = f"{name}, {f'row {number}' if number else 'header'}"
        if kind == "tsv":
            yield "\t".join(_tsv_field(place, value) for value in row) + "\n"
        else:
            yield (delimiter.join(_csv_field(place, value, delimiter, quoted) for value in row) or '""') + "\n"


def _csv_field(place: str, value: Any, delimiter: str, quoted: bool) -> str:
    """A field; one that no quotation marks of its own need be told from is written bare where none hold fields."""
    text = _flat(place, value)
    bare = delimiter not in text and not re.search("[\r\n]", text) and not (quoted and '"' in text)
    return text if bare else '"' + text.replace('"', '""') + '"'


def _tsv_field(place: str, value: Any) -> str:
    text = _flat(place, value)
    if re.search("[\t\r\n]", text):
        raise InputError(
            f"{place}: {excerpt(text)} holds a tab or line break, which a .tsv cannot; write .csv or .jsonl"
        )
    return text


def _flat(place: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, (str, int, float, np.generic)):
        raise InputError(f"{place}: a list, which a .csv or .tsv cannot hold; write .jsonl or .parquet")
    return str(value)
