"""SQuAD's own nesting becomes one question a row."""

from __future__ import annotations

import json

import pytest

from headwise.errors import InputError
from headwise.reading.answers import read_answers
from headwise.reading.columns import choose_columns
from headwise.reading.questions import unrolled
from headwise.reading.records import from_columns
from headwise.reading.tables import read
from headwise.tasks import guessed
from headwise.tasks.question_answering import QuestionAnswering

ASKED = [
    {"id": "1", "question": "Who wrote it?", "answers": [{"text": "Ada", "answer_start": 0}]},
    {"id": "2", "question": "Where?", "answers": [], "is_impossible": True},
]
PARAGRAPHS = [{"context": "Ada wrote it.", "qas": ASKED}, {"context": "Bob read it.", "qas": ASKED[1:]}]
WHOLE = {"version": "v2.0", "data": [{"title": "Programs", "paragraphs": PARAGRAPHS}]}


@pytest.mark.parametrize(
    "lines",
    [[WHOLE], WHOLE["data"], [{"title": "Programs"} | one for one in PARAGRAPHS]],
    ids=["file", "article", "context"],
)
def test_every_level_of_nesting_is_read_as_one_question_a_row(lines, tmp_path):
    file = tmp_path / "squad.json"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    records = unrolled(read(file))
    rows = records.table.to_pylist()
    assert [(row["title"], row["id"], row["context"]) for row in rows] == [
        ("Programs", "1", "Ada wrote it."),
        ("Programs", "2", "Ada wrote it."),
        ("Programs", "2", "Bob read it."),
    ]
    columns = choose_columns(records)
    assert guessed(records, columns) is QuestionAnswering
    assert [[answer[:2] for answer in row] for row in read_answers(records, columns)] == [[("Ada", 0)], [], []]
    assert records.where(2) == f"{file}, line {len(lines)}"
    assert records.notes == (f"{file}: 3 questions nested as in SQuAD, read as one a row",)


def test_a_file_that_goes_over_lines_is_read_as_well(tmp_path):
    file = tmp_path / "cmrc.json"
    file.write_text(json.dumps(WHOLE, indent=2))
    assert [row["id"] for row in unrolled(read(file)).table.to_pylist()] == ["1", "2", "2"]


def test_without_answers_there_is_no_column_of_them():
    records = from_columns({"context": ["Ada."], "qas": [[{"question": "Who?"}]]})
    assert unrolled(records).columns == ("question", "context")


def test_other_tables_stay_as_they_are():
    for columns in ({"text": ["a"], "data": [["b"]]}, {"qas": ["a"], "context": ["b"]}):
        records = from_columns(columns)
        assert unrolled(records) is records


@pytest.mark.parametrize(
    "wrong",
    [{"context": "Ada."}, {"qas": ASKED}, {"context": "Ada.", "qas": [{"answers": []}]}, {"context": [], "qas": ASKED}],
)
def test_what_is_nested_otherwise_is_refused_with_its_row(wrong):
    records = from_columns({"title": ["a", "b"], "paragraphs": [PARAGRAPHS, [wrong]]})
    with pytest.raises(InputError, match=r"row 2: expected SQuAD's nesting, data of paragraphs of a context and qas"):
        unrolled(records)
