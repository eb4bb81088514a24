"""Answers come in many shapes; each is found in its context, and what had to be mended is known."""

from __future__ import annotations

import pytest

from headwise.errors import InputError
from headwise.reading.answers import Answer, located, read_answers
from headwise.reading.columns import choose_columns
from headwise.reading.records import from_columns

CONTEXT = "Rome is not Rome"
ROME = Answer("Rome", 12)


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ({"text": ["Rome"], "answer_start": [12]}, (ROME,)),
        ({"text": "Rome", "answer_start": 12}, (ROME,)),
        ('{"text": ["Rome"], "answer_start": ["12"]}', (ROME,)),
        ([{"text": "Rome", "start": 12}, {"text": "not", "start": 8}], (ROME, Answer("not", 8))),
        (["not", "is"], (Answer("not", 8, "found"), Answer("is", 5, "found"))),
        ('["not"]', (Answer("not", 8, "found"),)),
        ("not", (Answer("not", 8, "found"),)),
        ("Rome", (Answer("Rome", 0, "first"),)),
        ({"text": [], "answer_start": []}, ()),
        ([], ()),
        ("", ()),
        ({"text": ["Rome", "Paris"], "answer_start": [12, -1]}, (ROME, Answer("Paris", -1, "absent"))),
    ],
)
def test_every_shape_says_the_same(field, found):
    records = from_columns({"question": ["?"], "context": [CONTEXT], "answers": [field]})
    assert read_answers(records, choose_columns(records))[0] == found


def test_places_in_a_column_of_their_own():
    columns = {"question": ["?"] * 3, "context": [CONTEXT] * 3, "answer": ["Rome", "", "is"]}
    records = from_columns(columns | {"answer_start": ["12", "", "5"]})
    assert list(read_answers(records, choose_columns(records))) == [(ROME,), (), (Answer("is", 5),)]


def test_an_answer_may_look_like_json():
    records = from_columns({"question": ["?"], "context": ["see [1] and {x}"], "answers": ["[1]"]})
    assert read_answers(records, choose_columns(records))[0] == (Answer("[1]", 4, "found"),)


@pytest.mark.parametrize(("said", "start"), [(0, 0), (3, 0), (11, 12), (13, 12), (99, 12), (-1, 0)])
def test_a_wrong_place_is_mended_by_the_nearest_right_one(said, start):
    assert located(CONTEXT, "Rome", said) == Answer("Rome", start, "given" if said == start else "mended")


def test_places_count_characters_as_python_does():
    context = "😀 é 中国人"
    assert located(context, "中国", 4) == Answer("中国", 4)


def test_an_absent_answer_is_refused_where_it_is_the_only_one():
    records = from_columns({"question": ["?"] * 2, "context": [CONTEXT] * 2, "answers": ["is", "Paris"]})
    with pytest.raises(InputError, match="<memory>, row 2: the answer 'Paris' is not in its context"):
        read_answers(records, choose_columns(records))
