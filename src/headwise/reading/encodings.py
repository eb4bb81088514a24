"""The bytes of a text file as UTF-8, whatever it was written in: UTF-8, UTF-16 or GB18030, gzipped or not."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import zlib
from itertools import islice
from pathlib import Path

from headwise.errors import InputError


def load(name: str) -> tuple[bytes, str]:
    """The text of a file as UTF-8, unzipped, and its encoding in words, empty for plain UTF-8."""
    try:
        raw = Path(name).read_bytes()
        if name.lower().endswith(".gz"):
            raw = gzip.decompress(raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{name}: not a whole gzip file ({error}); fetch or compress it again") from error
    except OSError as error:
        raise unreadable(name, error) from error
    data, encoding = _to_utf8(name, raw)
    if not data or data.isspace():
        raise InputError(f"{name}: the file is empty; expected a header and rows")
    if (position := data.find(b"\0")) >= 0:
        raise InputError(
            f"{name}, line {line_at(data, position)}: a NUL character; remove it (for example with tr -d '\\000')"
        )
    return data, encoding


def unreadable(name: str, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{name}: no such file; check the path (the current folder is {os.getcwd()})")
    return InputError(f"{name}: cannot be read ({error.strerror or error}); check its permissions and the disk")


def line_at(data: bytes, position: int) -> int:
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
    if whole <= damaged and _reads_as_chinese(data.decode("gb18030", "ignore")):
        try:
            return data.decode("gb18030").encode()
        except UnicodeDecodeError as error:
            raise _undecodable(name, data, error.start, "GB18030", "as which the rest reads; repair it") from None
    converted = (
        "convert the file to UTF-8: iconv -f ENCODING -t UTF-8, where ENCODING is CP1252 for a file of Western Excel, "
        "CP1251 for Cyrillic, BIG5, SHIFT_JIS or EUC-KR"
    )
    remedy = "repair it" if whole > damaged else converted
    rest = "the rest is mostly UTF-8" if whole > damaged else "nor does the file read as GB18030 or UTF-16"
    raise _undecodable(name, data, position, "UTF-8", f"{rest}; {remedy}")


def _undecodable(name: str, data: bytes, position: int, encoding: str, said: str) -> InputError:
    """At a byte that is not valid in the encoding, with what is to be said of the rest, and done."""
    column = position - data.rfind(b"\n", 0, position)
    return InputError(
        f"{name}, line {line_at(data, position)}: byte 0x{data[position]:02X} (byte {column} of the line) "
        f"is not valid {encoding}; {said}"
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
