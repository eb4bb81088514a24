"""Spans of characters become tags of words, and those that cannot are refused."""

from __future__ import annotations

import json

import pytest

from headwise.errors import InputError
from headwise.reading.entities import has_spans, read_spans
from headwise.reading.records import from_columns

ADA = "Ada lives in New York."
SPANS = [
    {"start": 13, "end": 21, "label": "LOC", "text": "New York", "score": 0.9},
    {"start": 0, "end": 3, "label": "P"},
]
O = ("O", "")  # noqa: E741


@pytest.mark.parametrize("written", [lambda spans: spans, json.dumps], ids=["lists", "json"])
def test_spans_are_tags_of_the_words_they_cover(written):
    records = from_columns(
        {
            "text": [ADA, "nobody", "彭小军在台湾"],
            "spans": [
                written(SPANS),
                written([]),
                written([{"start": 0, "end": 3, "label": "P"}, {"start": 4, "end": 6, "label": "P"}]),
            ],
        }
    )
    assert has_spans(records, "spans") and not has_spans(records, "text")
    begin, goes_on = ("B", "P"), ("I", "P")
    assert read_spans(records, "spans", "text") == [
        [begin, O, O, ("B", "LOC"), ("I", "LOC"), O],
        [O],
        [begin, goes_on, goes_on, O, begin, goes_on],
    ]


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (
            (13, 19),
            r"span 2 of column spans, 13 to 19 \('New Yo'\): .* the nearest that does is 13 to 21 \('New York'\)",
        ),
        ((12, 16), r"12 to 16 \(' New'\): .* nearest that does is 13 to 16 \('New'\)"),
        ((3, 4), "there is no word in it"),
        ((13, 99), "13 to 99: not in its text of 22 characters"),
        ((5, 5), "not in its text"),
        ((0, 9), "shares a word with another span"),
        (("a", 9), 'expected {"start": 0, "end": 3, "label": "PER"}'),
    ],
)
def test_spans_that_are_no_words_are_refused_with_row_and_span(span, told):
    wrong = [SPANS[1], {"start": span[0], "end": span[1], "label": "P"}]
    records = from_columns({"text": [ADA, ADA], "spans": [SPANS, wrong]})
    with pytest.raises(InputError, match=rf"row 2: span 2.*{told}" if "span 2" not in told else f"row 2: {told}"):
        read_spans(records, "spans", "text")


def test_the_file_is_not_read_again_for_every_span(monkeypatch):
    """Where a row stands is found by reading the file once more: for each span, a table would take hours."""
    records = from_columns({"text": [ADA] * 3, "spans": [SPANS] * 3})
    monkeypatch.setattr(type(records), "where", lambda *_: pytest.fail("there is nothing to be told"))
    assert len(read_spans(records, "spans", "text")) == 3


@pytest.mark.parametrize("field", ["{}", "[{", "none"])
def test_a_field_that_is_no_list_is_refused(field):
    records = from_columns({"text": [ADA, ADA], "spans": [json.dumps(SPANS), field]})
    with pytest.raises(InputError, match=r"row 2: spans is .*, expected a list of spans"):
        read_spans(records, "spans", "text")
