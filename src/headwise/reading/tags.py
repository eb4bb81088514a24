"""Tags of words: which scheme a table uses, and the same in IOB2, where B- begins an entity and I- goes on with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from headwise.errors import InputError, excerpt, listing
from headwise.reading.records import Records

Tag = tuple[str, str]  # its place in an entity, and the entity's type; ("O", "") for none

SCHEMES = {"IOB2": "BI", "IOB1": "BI", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
"""The letters of each. IOB1 (Ramshaw and Marcus 1995) has B- only where one entity touches another of its type."""
BEGINS, GOES_ON = "BSU", "IMEL"
OPEN = "BIM"  # in the schemes that mark the end, an entity goes on behind these
OUTSIDE = "O"  # the tag of a word that is no part of anything
NONE: Tag = (OUTSIDE, "")


def tag_of(name: str) -> Tag:
    """B-PER -> ("B", "PER"). What has no such beginning is a type by itself, as other tools' models have some."""
    place, dash, kind = name.partition("-")
    if dash and kind and place in (*BEGINS, *GOES_ON):
        return place, kind
    return NONE if name == OUTSIDE else ("I", name)


def read_tags(records: Records, column: str, words: str) -> tuple[str, list[list[Tag]]]:
    """The scheme of a column of lists, and its tags in IOB2, as many as there are words in that other column.

    Raises InputError where these are not as many, and for tags of no scheme.
    """
    table = records.table
    if not records.has_lists(column):
        raise InputError(f"{records.path}: column {column} holds text, expected a list of tags, one for each word")
    names = table[column].to_pylist()
    for row, (some, these) in enumerate(zip(table[words].to_pylist(), names, strict=True)):
        if len(some) != len(these):
            raise InputError(
                f"{records.where(row)}: {len(some)} words in column {words}, {len(these)} tags in column {column}; "
                "give every word one tag"
            )
    tags = {name: tag_of(name) for name in set(flat(names))}
    rows = [[tags[name] for name in some] for some in names]
    used = {place for place, _ in tags.values()} - {OUTSIDE}
    whole = all(name in (OUTSIDE, f"{place}-{kind}") for name, (place, kind) in tags.items())
    able = [scheme for scheme, places in SCHEMES.items() if used <= set(places)] if whole else []
    if not able:
        raise InputError(
            f"{records.path}: column {column} has the tags {listing(sorted(tags))}, expected O and B-TYPE, I-TYPE "
            "(IOB2 or IOB1), or BIOES, BILOU or BMES; name them so"
        )
    for scheme in able:
        if fault(scheme, rows) is None:
            return scheme, [in_iob2(scheme, row) for row in rows]
    raise faulty(records, column, able[0], rows)


def flat(lists: Iterable[Sequence[str]]) -> Iterable[str]:
    """What stands in lists."""
    return (name for some in lists for name in some)


def may_follow(scheme: str, before: Tag, tag: Tag) -> bool:
    """Whether a tag may stand behind another one."""
    same = before[1] == tag[1]
    if scheme == "IOB2":
        return tag[0] != "I" or same
    if scheme == "IOB1":
        return tag[0] != "B" or same
    opened = before[0] in OPEN
    return opened and same if tag[0] in GOES_ON else not opened


def fault(scheme: str, rows: Sequence[Sequence[Tag]]) -> tuple[int, int] | None:
    """The first row and word where tags are not of a scheme."""
    for number, row in enumerate(rows):
        for place, (before, tag) in enumerate(pairwise([NONE, *row, NONE])):
            if not may_follow(scheme, before, tag):
                return number, place
    return None


def faulty(records: Records, column: str, scheme: str, rows: Sequence[Sequence[Tag]]) -> InputError:
    """What to say where tags are not of the scheme they look like."""
    number, place = fault(scheme, rows) or (0, 0)
    before, tag = ("-".join(one).strip("-") for one in [NONE, *rows[number], NONE][place : place + 2])
    which = f"word {place + 1}" if place < len(rows[number]) else "the end"
    return InputError(
        f"{records.where(number)}: {excerpt(tag)} after {excerpt(before)} at {which} of column {column}, which "
        f"{scheme} does not allow{' (nor are the tags IOB1)' if scheme == 'IOB2' else ''}; mend the tags"
    )


def in_iob2(scheme: str, row: Sequence[Tag]) -> list[Tag]:
    """A row's tags with B- where an entity begins."""
    if scheme == "IOB2":
        return list(row)
    if scheme == "IOB1":
        begins = [tag != NONE and (tag[0] == "B" or tag[1] != before[1]) for before, tag in pairwise([NONE, *row])]
    else:
        begins = [tag[0] in BEGINS for tag in row]
    return [tag if tag == NONE else ("B" if begin else "I", tag[1]) for begin, tag in zip(begins, row, strict=True)]
