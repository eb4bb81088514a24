"""Schemes of tags are recognised, converted to IOB2, and refused where they are none."""

from __future__ import annotations

import pytest

from headwise.errors import InputError
from headwise.reading.records import from_columns
from headwise.reading.tags import read_tags, tag_of

IOB2 = ["B-PER", "I-PER", "I-PER", "B-PER", "O", "B-LOC"]


def read(*lines: list[str]):
    records = from_columns({"tokens": [["w"] * len(line) for line in lines], "tags": list(lines)})
    scheme, rows = read_tags(records, "tags", "tokens")
    return scheme, [["-".join(tag).strip("-") for tag in row] for row in rows]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB2", IOB2),
        ("IOB1", ["I-PER", "I-PER", "I-PER", "B-PER", "O", "I-LOC"]),
        ("BIOES", ["B-PER", "I-PER", "E-PER", "S-PER", "O", "S-LOC"]),
        ("BILOU", ["B-PER", "I-PER", "L-PER", "U-PER", "O", "U-LOC"]),
        ("BMES", ["B-PER", "M-PER", "E-PER", "S-PER", "O", "S-LOC"]),
    ],
)
def test_every_scheme_says_the_same_in_iob2(scheme, tags):
    assert read(tags) == (scheme, [IOB2])


def test_iob1_where_an_entity_touches_one_of_another_type():
    assert read(["I-PER", "I-LOC", "O"]) == ("IOB1", [["B-PER", "B-LOC", "O"]])


def test_a_type_may_hold_a_dash():
    assert tag_of("B-work-of-art") == ("B", "work-of-art") and tag_of("X-1") == ("I", "X-1")


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["B-PER", "I-LOC"], r"row 2: 'I-LOC' after 'B-PER' at word 2 of column tags, which IOB2 does not allow"),
        (["B-PER", "O", "I-PER"], r"row 2: 'I-PER' after 'O' at word 3"),
        (["B-PER", "E-LOC"], r"row 2: 'E-LOC' after 'B-PER' at word 2 of column tags, which BIOES does not allow"),
        (["S-LOC", "B-PER", "I-PER"], r"row 2: 'O' after 'I-PER' at the end of column tags, which BIOES"),
        (["U-PER", "E-PER"], r"column tags has the tags .*'U-PER', expected O and B-TYPE"),
        (["NN", "VB"], "expected O and B-TYPE"),
        (["0", "3"], "expected O and B-TYPE"),
    ],
)
def test_tags_of_no_scheme_are_refused(tags, told):
    with pytest.raises(InputError, match=told):
        read(["O", "O"], tags)


def test_tags_and_words_of_different_number_are_refused():
    records = from_columns({"tokens": [["a"], ["a", "b"]], "tags": [["O"], ["O"]]})
    with pytest.raises(InputError, match="row 2: 2 words in column tokens, 1 tags in column tags; give every word one"):
        read_tags(records, "tags", "tokens")
    with pytest.raises(InputError, match="column tags holds text, expected a list of tags"):
        read_tags(from_columns({"tokens": [["a"]], "tags": ["O"]}), "tags", "tokens")
