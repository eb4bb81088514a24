"""Entities are counted as conlleval.pl and seqeval's default mode count them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwise.errors import InputError
from headwise.judging.metrics import ClassScores
from headwise.judging.spans import as_text, entities, findings, mistakes, score

TYPES = ("LOC", "PER")
NUMBERS = {"O": 0, "B-LOC": 1, "I-LOC": 2, "B-PER": 3, "I-PER": 4}


def rows(*lines: str) -> list[tuple[int, ...]]:
    return [tuple(NUMBERS[tag] for tag in line.split()) for line in lines]


def named(line: str) -> list[tuple[str, int, int]]:
    return [(TYPES[kind], first, last - 1) for _, first, last, kind in entities(rows(line))]


# What seqeval.metrics.sequence_labeling.get_entities says of the same tags, its ends included.
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        ("I-PER I-PER O I-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),  # I- begins where nothing went before
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),  # another type is another entity
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("B-PER O I-PER", [("PER", 0, 0), ("PER", 2, 2)]),
        ("I-LOC B-LOC I-LOC", [("LOC", 0, 0), ("LOC", 1, 2)]),
        ("I-PER I-LOC I-PER", [("PER", 0, 0), ("LOC", 1, 1), ("PER", 2, 2)]),
    ],
)
def test_what_an_entity_is(line, expected):
    assert named(line) == expected


def test_entities_do_not_go_on_in_the_next_row():
    assert entities(rows("O B-PER", "I-PER O", "", "I-PER")[:2]) == [(0, 1, 2, 1), (1, 0, 1, 1)]


@given(st.lists(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=8), min_size=1, max_size=5))
def test_entities_are_those_of_conlleval_read_word_by_word(lines):
    found = []
    for number, line in enumerate(lines):
        before, begun = "O", 0
        for at, tag in enumerate([*line, "O"]):
            new = tag != "O" and (tag[0] == "B" or before == "O" or before[2:] != tag[2:])
            if before != "O" and (tag == "O" or new):
                found.append((number, begun, at, TYPES.index(before[2:])))
            begun, before = at if new else begun, tag
    assert entities([tuple(NUMBERS[tag] for tag in line) for line in lines]) == found


def test_scores_of_a_case_counted_by_hand():
    truth = rows("B-PER I-PER O B-LOC", "B-LOC O O", "O B-PER O")
    answers = rows("B-PER I-PER O B-PER", "B-LOC I-LOC O", "O B-PER B-LOC")
    scores = score(truth, answers, TYPES)
    # given: PER 0-1 right, PER 3 wrong type, LOC 0-1 wrong end, PER 1 right, LOC 2 invented
    assert scores.per_type == {
        "LOC": ClassScores(0.0, 0.0, 0.0, 2),
        "PER": ClassScores(2 / 3, 1.0, pytest.approx(0.8), 2),
    }
    assert (scores.precision, scores.recall) == (2 / 5, 2 / 4)
    assert scores.f1 == pytest.approx(4 / 9) and scores.macro_f1 == pytest.approx(0.4)
    assert scores.accuracy == 7 / 10 and scores.entities == 4 and scores.rows == 3
    assert [(one.true, one.given, one.wrong) for one in mistakes(truth, answers)] == [
        ((0, 3, 4, 0), (0, 3, 4, 1), "wrong type"),
        ((1, 0, 1, 0), (1, 0, 2, 0), "wrong ends"),
        (None, (2, 2, 3, 0), "invented"),
    ]


def test_what_is_missed_and_what_overlaps_with_another_type():
    truth, answers = rows("B-PER I-PER O O B-LOC"), rows("O B-LOC I-LOC O O")
    assert [one.wrong for one in mistakes(truth, answers)] == ["both wrong", "missed"]


def test_without_entities_every_share_is_zero_and_rows_are_needed():
    scores = score(rows("O O"), rows("O O"), TYPES)
    assert (scores.f1, scores.precision, scores.recall, scores.macro_f1, scores.accuracy) == (0, 0, 0, 0, 1)
    with pytest.raises(InputError, match="no rows"):
        score([], [], TYPES)
    with pytest.raises(InputError, match="there is no metric 'acc'; choose one of 'f1', 'precision'"):
        scores.named("acc")


def test_the_report_names_types_mistakes_and_words():
    truth, answers = rows("B-PER I-PER O B-LOC", "O O"), rows("B-PER O O B-PER", "O B-LOC")
    texts = ["Ada Lovelace in London", "no <b>"]
    places = [np.array([[0, 3], [4, 12], [13, 15], [16, 22]]), np.array([[0, 2], [3, 6]])]
    sure = [np.array([0.9, 0.8, 1.0, 0.7]), np.array([1.0, 0.6])]
    found = findings(TYPES, truth, answers, sure, texts, places)
    by_type, confusions, worst = found.sections
    assert by_type.rows[0][:5] == ("LOC", 0.0, 0.0, 0.0, 1)
    assert confusions.rows == (("LOC", "PER", 1),)
    assert [row[1:] for row in worst.rows] == [
        ("PER: Ada Lovelace", "PER: Ada", pytest.approx(0.9)),
        ("LOC: London", "PER: London", pytest.approx(0.7)),
        ("(none)", "LOC: <b>", pytest.approx(0.6)),
    ]
    assert found.numbers["mistakes"]["LOC"]["invented"] == 1
    assert "wrong ends 1" in as_text(truth, answers, TYPES)
