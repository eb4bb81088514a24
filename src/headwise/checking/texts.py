"""Texts that say nothing: empty, without a letter, or broken by a wrong encoding; and texts in another language."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import numpy as np

from headwise.checking.corpus import Corpus
from headwise.checking.findings import Finding, counted
from headwise.errors import excerpt
from headwise.judging.baselines import joined
from headwise.reading.batches import Rows

EMPTY, GARBAGE, MISREAD, MIX = "empty texts", "garbage", "misread encoding", "language mix"
SEEN = 2_000  # characters of a text that are looked at

BROKEN = re.compile("\ufffd|锟斤拷|(?:烫){3}|(?:屯){3}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # what no writer meant
LOST = re.compile(r"\?{2,}")  # letters that an encoding did not have are left as question marks


def empty(corpus: Corpus) -> list[Finding]:
    """Rows without a text, or with one side of a pair empty."""
    rows = tuple(row for row in range(len(corpus)) if not all(side.strip() for side in corpus.sides(row)))
    words = f"{counted(len(rows), 'row')} without text"
    return [Finding(EMPTY, "error", words, "delete them: --fix does; or train with --skip-empty", rows)] if rows else []


def garbage(corpus: Corpus, rows: Rows) -> list[Finding]:
    """Rows that say nothing, and rows whose letters were read in a wrong encoding."""
    says = {row: reason for row in rows.tolist() if (reason := nonsense(joined(corpus.texts[row])[:SEEN]))}
    broken = {row: reason for row, reason in says.items() if reason.startswith("reads ")}
    nothing = {row: reason for row, reason in says.items() if row not in broken}
    found = []
    if nothing:
        words = f"{counted(len(nothing), 'row')} without a word, or damaged"
        found.append(Finding(GARBAGE, "warning", words, "delete them: --fix does", (*nothing,), about=(*nothing.values(),)))
    if broken:
        words = f"{counted(len(broken), 'row')} in a wrong encoding"
        remedy = "find out where, and read the source again; --fix mends what can be mended"
        found.append(Finding(MISREAD, "warning", words, remedy, (*broken,), about=(*broken.values(),)))
    return found


def nonsense(text: str) -> str:
    """What is wrong with a text, in words; empty where nothing is."""
    if BROKEN.search(text):
        return "characters that stand for lost ones"
    if not any(unicodedata.category(one)[0] in "LN" or unicodedata.category(one) == "So" for one in text):
        return "no letter, digit or symbol"
    if text.isascii():
        lost = sum(map(len, LOST.findall(text)))
        return "question marks in the place of letters" if lost > 3 and 2 * lost > len(text) else ""
    mended = reread(text)
    return "" if mended == text else f"reads {excerpt(mended)} in the right encoding"


def reread(text: str) -> str:
    """A text that was decoded in a wrong encoding, decoded in the right one; any other text as it is."""
    for wrong, right in (("cp1252", "utf-8"), ("gb18030", "utf-8"), ("cp1252", "gb18030")):
        try:
            mended = as_bytes(text, wrong).decode(right)
        except ValueError:
            continue
        if plausible(text, mended, wrong, right):
            return mended
    return text


def as_bytes(text: str, encoding: str) -> bytes:
    """Its bytes; what Windows leaves undefined in its code page as Latin-1 has it. Raises ValueError for the rest."""
    if encoding != "cp1252":
        return text.encode(encoding)
    latin = str.maketrans({code: chr(code) for code in range(0x80, 0xA0)})
    pieces = []
    for one in text.translate(latin):
        try:
            pieces.append(one.encode("cp1252"))
        except UnicodeEncodeError:
            pieces.append(one.encode("latin-1"))
    return b"".join(pieces)


def plausible(text: str, mended: str, wrong: str, right: str) -> bool:
    """Whether a text was so mended, and not a fit by accident."""
    beyond = len(re.findall(r"[^\x00-\x7f]", text))
    if right == "utf-8" and wrong == "cp1252":
        return mended != text  # two or three accented letters in a row that happen to be UTF-8: nobody writes so
    if right == "utf-8":
        return beyond >= 6 and all(one.isprintable() or one.isspace() for one in mended)
    common = len(mended.encode("gb2312", "ignore")) - sum(map(str.isascii, mended))
    return beyond >= 8 and 2 * beyond > len(re.findall(r"\w", text)) and common >= 0.95 * beyond


SCRIPTS = {
    "Chinese": "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af",
    "Japanese": "\u3040-\u30ff",
    "Korean": "\uac00-\ud7af\u1100-\u11ff",
    "Russian or another language in Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff",
    "Arabic": "\u0600-\u06ff",
    "Hebrew": "\u0590-\u05ff",
    "Hindi or another language in Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
}
LETTERS = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}
LATIN = re.compile("[a-z\u00df-\u024f]+(?:['’][a-z]+)?")
# The commonest words of each language that the others do not have.
WORDS = {
    "English": "the of and to is that you this with what my how are not have for your it from was be on at by he she we i",
    "German": "der die das und ist nicht ein eine einer einem einen ich mit auf für den dem von zu sich wie wir auch im",
    "French": "le les des du une est et dans pour que qui pas sur avec je vous nous ce cette il elle au aux sont un",
    "Spanish": "el los las del una es y en para que con por un no se lo mi su está como al pero más muy son",
    "Italian": "il gli della di che è non una per con sono mi un del dei nel alla come più questo anche si ha",
    "Portuguese": "o os as do da um uma é não em para com que por no na dos das se mais ao seu foi está como",
    "Dutch": "het een van de ik en is niet dat op te zijn met voor je er maar aan die wat naar ook bij",
}
VOCABULARY = {name: frozenset(words.split()) for name, words in WORDS.items()}


def languages(corpus: Corpus, rows: Rows) -> list[Finding]:
    """Rows in another language than most; where a fifth are, the table is mixed, which is only said."""
    spoken = {row: language(joined(corpus.texts[row])[:SEEN]) for row in rows.tolist()}
    times = Counter(name for name in spoken.values() if name)
    if len(times) < 2:
        return []
    known = sum(times.values())
    usual = [name for name, number in times.items() if number >= 0.2 * known]
    if len(usual) > 1:
        words = ", ".join(f"{number / known:.0%} {name}" for name, number in times.most_common(5))
        return [Finding(MIX, "note", f"{words} (of the rows whose language is plain)", "take a model that reads them all")]
    others = {row: name for row, name in spoken.items() if name and name not in usual}
    told = ", ".join(f"{name} {number:,}" for name, number in times.most_common() if name not in usual)
    words = f"{counted(len(others), 'row')} not in {usual[0]}: {told}"
    remedy = "take a model that reads them too, or leave them out"
    return [Finding(MIX, "warning", words, remedy, (*others,), about=(*others.values(),))]


def language(text: str) -> str:
    """The language of a text where its letters or its commonest words are plain, else nothing."""
    counts = {name: len(letters.findall(text)) for name, letters in LETTERS.items()}
    words = LATIN.findall(text.lower())
    foreign = sum(counts.values())
    if foreign > len(words):  # an ideograph weighs as much as a Latin word
        if counts["Japanese"] >= 0.1 * foreign:
            return "Japanese"
        return max(counts, key=lambda name: counts[name])
    if len(words) < 3:
        return ""
    hits = {name: sum(word in known for word in words) for name, known in VOCABULARY.items()}
    best, second = sorted(hits, key=lambda name: -hits[name])[:2]
    return best if hits[best] >= max(2, 0.15 * len(words)) and hits[best] > 1.5 * hits[second] else ""
