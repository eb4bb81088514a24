"""Choosing columns: as given, by usual names, or by what they hold; every guess said, every doubt an error."""

import pytest

from headwise.errors import InputError
from headwise.reading import choose_columns, from_columns, read

ROWS = [f"text {row}" for row in range(8)]
FEW = ["yes", "no"] * 4


def table(*names, **contents):
    return from_columns({**dict.fromkeys(names, ROWS), **contents})


def refused(records, *words, **given):
    with pytest.raises(InputError) as caught:
        choose_columns(records, **given)
    message = str(caught.value)
    assert message.startswith("<memory>: ")
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("names", "text", "label"),
    [
        (("id", "text", "label"), "text", "label"),
        (("Review Text", "Title", "Stars"), "Review Text", "Stars"),
        (("title", "content", "y"), "content", "y"),
        (("评论", "标签"), "评论", "标签"),
        (("tokens", "tags"), "tokens", "tags"),
        (("target", "class", "SENTENCE"), "SENTENCE", "target"),
    ],
)
def test_usual_names(names, text, label):
    columns = choose_columns(table(*names))
    assert (columns.text, columns.pair, columns.label) == (text, None, label)
    assert columns.notes == (f"text column: {text}, label column: {label} (guessed by name)",)


@pytest.mark.parametrize(
    "pair",
    [
        ("text_a", "text_b"),
        ("sentence1", "sentence2"),
        ("Question1", "Question2"),
        ("premise", "hypothesis"),
        ("句子1", "句子2"),
    ],
)
def test_usual_pairs(pair):
    columns = choose_columns(table(*reversed(pair), "text", "label"))
    assert (columns.text, columns.pair, columns.label) == (*pair, "label")
    assert columns.notes == (f"text column: {pair[0]}, pair column: {pair[1]}, label column: label (guessed by name)",)


def test_given_columns_win_and_are_no_guess():
    records = table("text", "title", "label", "topic")
    columns = choose_columns(records, "title", "text", "topic")
    assert (columns.text, columns.pair, columns.label, columns.notes) == ("title", "text", "topic", ())
    columns = choose_columns(records, label="text")
    assert (columns.text, columns.label) == ("title", "text")
    assert columns.notes == ("text column: title (guessed by name)",)
    assert choose_columns(table("text_a", "text_b", "label"), "text_a").pair is None
    assert choose_columns(table("text_a", "text_b", "label"), pair="text_b").text == "text_a"


def test_full_width_commas_in_the_names_are_pointed_out():
    refused(
        from_columns({"文本，标签": ["好，好评", "坏，差评"]}), "if ， is to part columns, write a comma in its place"
    )


def test_a_table_without_names_is_told_where_its_first_row_seems_to_be_taken_for_them():
    (_, said) = choose_columns(table("a fine film", FEW[0], **{FEW[0]: FEW})).notes
    assert said.startswith(f"'{FEW[0]}' is the name of the label column and one of its labels; if the table has no ")
    assert len(choose_columns(table("text", label=["label", *FEW[1:]])).notes) == 1  # it has names


def test_of_two_columns_the_one_of_few_values_is_the_label():
    columns = choose_columns(table("b", a=FEW))
    assert (columns.text, columns.label) == ("b", "a")
    assert columns.notes == ("text column: b, label column: a (guessed by what the columns hold)",)
    assert choose_columns(table("words", label=FEW)).text == "words"
    assert choose_columns(table("text", mood=FEW)).label == "mood"
    refused(table("a", "b"), "the text and the label", "'a', 'b'", "--text-column and --label-column", "--pair-column")
    refused(from_columns({"a": FEW, "b": FEW}), "--text-column and --label-column")
    refused(table("text", "mood"), "the label", "--label-column")
    refused(table("a", "b", c=FEW), "'a', 'b', 'c'")


def test_rows_that_lie_in_a_list_of_one_row_are_pointed_out(tmp_path):
    (tmp_path / "x.json").write_text('{"version": 1, "data": [{"text": "fine", "label": "good"}]}')
    with pytest.raises(InputError, match=r"one row only, in which 'data' is a list; .* write the list alone"):
        choose_columns(read(tmp_path / "x.json"))


def test_without_need_of_a_label():
    assert choose_columns(table("anything"), need_label=False).text == "anything"
    columns = choose_columns(table("id", "text"), need_label=False)
    assert (columns.label, columns.notes) == (None, ("text column: text (guessed by name)",))
    assert choose_columns(table("text", "label"), need_label=False).label == "label"
    assert "label" not in choose_columns(table("text", "label"), need_label=False).notes[0]
    refused(table("a", "b"), "the text,", "name --text-column (", need_label=False)


def test_what_is_passed_over_where_a_label_may_be_there_is_said():
    columns = choose_columns(table("text_a", "text_b", "alike"), need_label=None)
    assert columns.label is None and "not used: 'alike'; name one with --label-column" in columns.notes[-1]
    assert choose_columns(table("text_a", "text_b", "is_duplicate"), need_label=None).label == "is_duplicate"


def test_a_given_column_that_is_not_there():
    refused(table("review", "stars"), "no column 'reviews'", "'review', 'stars'", "mean 'review'", text="reviews")
    refused(table(*(f"c{number}" for number in range(99))), "and 89 more", label="nothing like it")
    refused(table("text", "label"), "'text' is given twice", text="text", label="text")
