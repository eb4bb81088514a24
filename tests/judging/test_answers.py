"""Answers are scored as SQuAD's and CMRC's scripts score them."""

from __future__ import annotations

import pytest

from headwise.errors import InputError
from headwise.judging.answers import asking, findings, likely_piece, one_row, row_scores, score


@pytest.mark.parametrize(
    ("right", "given", "exact", "f1"),
    [
        (["Denver Broncos"], "the denver broncos!", 1, 1),
        (["Denver Broncos", "Broncos"], "Broncos", 1, 1),
        (["Santa Clara, California"], "Levi's Stadium in Santa Clara", 0, 2 * 2 / (3 + 5)),
        (["1998"], "1998 and 1999", 0, 0.5),
        (["24–10"], "24-10", 0, 0),  # only ASCII punctuation goes
        (["well-known"], "wellknown", 1, 1),
        (["a b b"], "b b b", 0, 0.8),  # "a" is an article; bags, not sets
        (["x"], "y", 0, 0),
        ([], "", 1, 1),  # no answer
        ([], "something", 0, 0),
        (["something"], "", 0, 0),
        (["the"], "", 1, 1),  # nothing is left of it: counts as no answer
    ],
)
def test_as_squad_counts(right, given, exact, f1):
    assert one_row(right, given) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("right", "given", "exact", "f1"),
    [
        (["村雨城"], "村雨城", 1, 1),
        (["《村雨城》"], "村雨城。", 1, 1),
        (["村雨城"], "任天堂游戏谜之村雨城", 0, 2 * 3 / (3 + 10)),
        (["光荣和ω-force"], "光荣", 0, 2 * 2 / (4 + 2)),  # ω-force is one unit once its hyphen is dropped
        (["北京大学"], "大学北京", 0, 0.5),  # the longest piece they share, not a bag
        (["1998年"], "1998", 0, 2 / 3),
        (["NBA的球队"], "nba的球队", 1, 1),
        (["上海"], "北京", 0, 0),
        (["上海"], "", 0, 0),
        ([], "上海", 0, 0),
        (["北京", "北京市"], "北京市", 1, 1),
        (["3,000人"], "3,000人", 1, 1),
    ],
)
def test_as_cmrc_counts(right, given, exact, f1):
    assert one_row(right, given) == (exact, pytest.approx(f1))


def test_scores_are_means_over_rows():
    found = score([["a cat"], [], ["北京"]], ["cat", "", "上海"])
    assert (found.exact_match, found.f1, found.rows) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert row_scores([], []).shape == (0, 2)
    with pytest.raises(InputError, match="no rows"):
        score([], [])
    with pytest.raises(InputError, match=r"no metric 'accuracy'; choose one of 'f1', 'exact_match'"):
        found.named("accuracy")


def test_the_baseline_answers_from_the_sentence_most_like_the_question():
    context = "Denver lies in Colorado. The Broncos beat the Panthers in 2016! Nobody saw it."
    start, end = likely_piece("When did the Broncos beat the Panthers?", context)
    assert context[start:end] == "in 2016"
    assert likely_piece("who?", " . ") == (0, 0)
    assert likely_piece("谁?", "他来自北京。她来自上海。")[1] > 0


def test_questions_go_by_what_they_ask_with():
    asked = ["Who left?", "为什么下雨？", "天为什么下雨？", "北京有多少人?", "她来自北京", "?"]
    assert [asking(one) for one in asked] == ["who", "为什么", "为什么", "多少", "(another)", "?"]


def test_findings_group_rows_and_show_mistakes():
    found = findings(
        ["Who <b>?", "Who?", "Where?"], [["a"], ["b c"], []], ["x", "b c", "y"], row_scores([[]] * 3, "xyz")[:, 0]
    )
    lengths, questions, mistakes = found.sections
    assert [(row[0], row[3]) for row in questions.rows] == [("who", 2), ("where", 1)]
    assert {row[0] for row in lengths.rows} == {"1", "2", "no answer"}
    assert [row[:3] for row in mistakes.rows] == [("Who <b>?", "a", "x"), ("Where?", "(none)", "y")]
