"""Texts that say nothing: empty, without a letter, or broken by a wrong encoding; and texts in another language."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter

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
    says = {row: reason for row in rows.tolist() if (reason := nonsense(joined(corpus.texts[row])))}
    broken = {row: reason for row, reason in says.items() if reason.startswith("reads ")}
    nothing = {row: reason for row, reason in says.items() if row not in broken}
    found = []
    if nothing:
        words = f"{counted(len(nothing), 'row')} without a word, or damaged"
        found.append(
            Finding(GARBAGE, "warning", words, "delete them: --fix does", (*nothing,), about=(*nothing.values(),))
        )
    if broken:
        words = f"{counted(len(broken), 'row')} in a wrong encoding"
        remedy = "find out where, and read the source again; --fix mends what can be mended"
        found.append(Finding(MISREAD, "warning", words, remedy, (*broken,), about=(*broken.values(),)))
    return found


def nonsense(text: str) -> str:
    """What is wrong with a text, by its beginning, in words; empty where nothing is."""
    text, whole = text[:SEEN], len(text) <= SEEN
    if BROKEN.search(text):
        return "characters that stand for lost ones"
    if not any(unicodedata.category(one)[0] in "LN" or unicodedata.category(one) == "So" for one in text):
        return "no letter, digit or symbol"
    if text.isascii():
        lost = sum(map(len, LOST.findall(text)))
        return "question marks in the place of letters" if lost > 3 and 2 * lost > len(text) else ""
    mended = reread(text, whole)
    return "" if mended == text else f"reads {excerpt(mended)} in the right encoding"


def reread(text: str, whole: bool = True) -> str:
    """A text that was decoded in a wrong encoding, decoded in the right one; any other text as it is.

    Of one that is not whole, what is left at its end of a character that was cut in two is dropped.
    """
    for wrong, right in (("cp1252", "utf-8"), ("gb18030", "utf-8"), ("cp1252", "gb18030")):
        try:
            mended = codecs.getincrementaldecoder(right)().decode(as_bytes(text, wrong), final=whole)
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
SPELLED = {  # letters that hardly another of them has
    "German": frozenset("äöüß"),
    "French": frozenset("çèêëîïœùû"),
    "Spanish": frozenset("ñ"),
    "Portuguese": frozenset("ãõ"),
}
UNSURE = "Latin script"
LETTERS = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}
LATIN = re.compile("[a-z\u00df-\u024f]+['’]?")
# The commonest words of each language, above all those the others do not have.
WORDS = {
    "English": "the of and to is that you this with what my how are not have for your it from was be on at by he she "
    "we i as no do a an or in me so has will can its their which than more there but if all out up about they were "
    "these who when where why does did him his her our would should could been into only just some any one it' i' don "
    "don' can' that'",
    "German": "der die das und ist nicht ein eine einer einem einen eines ich mit auf für den dem des von zu sich wie "
    "wir auch im vor bei nach aus über unter hat sind wird werden am zum zur sie er es als um oder aber durch zwei "
    "seine ihre seinem ihrem an in noch nur sehr mein meine kann habe wenn dass",
    "French": "le les des du une est et dans pour que qui pas sur avec je vous nous ce cette il elle au aux sont un la "
    "de en à deux son sa ses leur par mais plus très mon ma mes se ne a ont été on devant près "
    "l' d' qu' j' n' s' c' homme femme dont tout bien être fait lui même",
    "Spanish": "el los las del una es y en para que con por un se lo mi su está como al pero más muy son la de a dos "
    "sus sin sobre hay este esta tiene han he ha nos también",
    "Italian": "il gli della di che è non una per con sono mi un del dei nel alla come più questo anche si ha la le al "
    "e dal due ma molto suo sua ho lo delle nella l' un' dell' nell'",
    "Portuguese": "o os da um uma é não para com por na dos das se mais ao seu foi está que de em e do muito meu minha "
    "dois sua são pelo pela também já",
    "Dutch": "het een van de ik en is niet dat op te zijn met voor je er maar aan die wat naar ook bij in hij zij wij "
    "om tot uit twee deze heeft worden wordt mijn",
}
VOCABULARY = {name: frozenset(words.split()) for name, words in WORDS.items()}
SPOKEN = Counter(word for words in VOCABULARY.values() for word in words)  # in how many languages


def languages(corpus: Corpus, rows: Rows) -> list[Finding]:
    """Rows in another language than most; where a fifth are, the table is mixed, which is only said."""
    spoken = {row: language(joined(corpus.texts[row])[:SEEN]) for row in rows.tolist()}
    plain = Counter(name for name in spoken.values() if name not in ("", UNSURE))
    usual = [name for name, number in plain.most_common() if number >= 0.2 * plain.total()]
    if len(usual) != 1 and plain:
        words = ", ".join(f"{number / plain.total():.0%} {name}" for name, number in plain.most_common(5))
        words = f"{words} (of the rows whose language is plain)"
        return [Finding(MIX, "note", words, "take a model that reads them all")]
    expected = {"", *usual, *([UNSURE] if not usual or usual[0] in WORDS else [])}
    others = {row: name for row, name in spoken.items() if name not in expected}
    if not others:
        return []
    told = ", ".join(f"{name} {number:,}" for name, number in Counter(others.values()).most_common())
    words = f"{counted(len(others), 'row')} not in {usual[0]}: {told}"
    remedy = "take a model that reads them too, or leave them out"
    return [Finding(MIX, "warning", words, remedy, (*others,), about=(*others.values(),))]


def language(text: str) -> str:
    """The language of a text where its letters or its commonest words make it plain; nothing for hardly any words."""
    counts = {name: len(letters.findall(text)) for name, letters in LETTERS.items()}
    words = LATIN.findall(text.lower())
    foreign = sum(counts.values())
    if foreign > len(words):  # an ideograph weighs as much as a Latin word
        if counts["Japanese"] >= 0.1 * foreign:
            return "Japanese"
        return max(counts, key=lambda name: counts[name])
    if len(words) < 3:
        return ""
    told = [word.replace("’", "'") for word in words if word.replace("’", "'") in SPOKEN]
    weight = {name: sum(1 / SPOKEN[word] for word in told if word in VOCABULARY[name]) for name in WORDS}
    for name, letters in SPELLED.items():
        weight[name] += sum(not letters.isdisjoint(word) for word in words) / 2
    best, second = sorted(weight, key=lambda name: -weight[name])[:2]
    return best if weight[best] >= max(1.4, 0.1 * len(words)) and weight[best] > 1.5 * weight[second] else UNSURE
