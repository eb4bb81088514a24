"""Words, wordpieces and Chinese characters align."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwise.errors import InputError
from headwise.reading.records import from_columns
from headwise.reading.text import TextTokenizer
from headwise.reading.words import Words, joined, read_words, singles, spans_in, windowed


def words_in(text: str) -> list[str]:
    return [text[a:b] for a, b in spans_in(text).tolist()]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["The", "U.S.", "team", "."], "The U.S. team ."),
        (["中国", "银行", "，", "上海"], "中国银行，上海"),
        (["我", "在", "Google", "Cloud", "工作"], "我在Google Cloud工作"),
        (list("在Dota里"), "在Dota里"),
        (["A", "B"], "A B"),
        (["a"], "a"),
    ],
)
def test_words_are_joined_as_people_write(words, text):
    assert "".join(joined(words)) == text
    read = Words.of(from_columns({"tokens": [words]}), "tokens")
    assert read[0] == text
    assert [text[a:b] for a, b in read.spans(0).tolist()] == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada's U.S. team won 1,000.5 dollars.", ["Ada", "'s", "U.S.", "team", "won", "1,000.5", "dollars", "."]),
        ("(AL-AIN, 1996-12-06)", ["(", "AL-AIN", ",", "1996-12-06", ")"]),
        ("彭小军，在Dota2里！", [*"彭小军，在", "Dota2", *"里！"]),
        ("  \t\n", []),
        ("", []),
        ("_x😀y", ["_", "x", "😀", "y"]),
        ("Jose\u0301 Garci\u0301a ❤\ufe0f", ["Jose\u0301", "Garci\u0301a", "❤\ufe0f"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("Ｔｏｋｙｏ，東京", ["Ｔｏｋｙｏ", "，", "東", "京"]),
    ],
)
def test_words_of_a_plain_text(text, words):
    assert words_in(text) == words


@given(st.text(max_size=60))
def test_nothing_but_blanks_is_left_out_of_a_text(text):
    assert "".join(words_in(text)) == "".join(text.split()) or any(c.isspace() != (not c.split()) for c in text)


def test_an_empty_word_is_refused():
    with pytest.raises(InputError, match="row 2: word 2 of 2 in column tokens is ' '; delete it together with its tag"):
        Words.of(from_columns({"tokens": [["a"], ["a", " "]]}), "tokens")
    with pytest.raises(InputError, match="expected single texts"):
        singles([("a", "b")])


def test_words_that_are_chosen_keep_their_places():
    words = Words.of(from_columns({"tokens": [["a"], ["b", "c"], ["d", "ee"]]}), "tokens")
    some = words.take(np.array([2, 0]))
    assert list(some) == ["d ee", "a"] and some.spans(0).tolist() == [[0, 1], [2, 4]]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_every_word_points_to_its_first_token(family, directory_of, films):
    tokenizer = TextTokenizer.read(directory_of(family), 64)
    texts = [text for text, _ in films] + ["", "smiles—plays 无聊x"]
    spans = [spans_in(text) for text in texts]
    read = read_words(tokenizer, texts, spans)
    assert read.counts.tolist() == [1] * len(texts) and read.words.tolist() == [len(some) for some in spans]
    assert len(read.first) == sum(map(len, spans)) and not read.shared.any()
    at = 0
    for number, (text, some) in enumerate(zip(texts, spans, strict=True)):
        begin = int(read.tokens.starts[number])
        places = read.first[at : at + len(some)] - begin
        at += len(some)
        assert (np.diff(places) > 0).all() and (places[:1] == 1).all()
        for place, (a, b) in zip(places.tolist(), some.tolist(), strict=True):
            alone = tokenizer.tokenizer.encode(text[a:b], add_special_tokens=False).ids
            blank = tokenizer.tokenizer.encode(" " + text[a:b], add_special_tokens=False).ids
            assert int(read.tokens.ids[begin + place]) in (alone[0], blank[0])


def test_half_a_character_is_refused(directory_of):
    tokenizer = TextTokenizer.read(directory_of("bert"), 64)
    with pytest.raises(InputError, match="found half a surrogate pair"):
        read_words(tokenizer, ["a \ud800"], [spans_in("a \ud800")])


def test_letters_that_touch_are_read_as_one_word(directory_of):
    tokenizer = TextTokenizer.read(directory_of("bert"), 64)
    words = Words.of(from_columns({"tokens": [["看", *"smiles", "很"]]}), "tokens")
    read = read_words(tokenizer, words, [words.spans(0)])
    inside = tokenizer.tokenizer.encode("看 smiles 很", add_special_tokens=False).ids
    assert read.tokens.ids.tolist()[1:-1] == inside
    assert read.shared.sum() == 6 - (len(inside) - 2)


def to_an_edge(at: int, window: range, length: int) -> int:
    """How far a token is from where its window cuts the text."""
    return min(at - window.start if window.start else length, window.stop - 1 - at if window.stop < length else length)


@given(st.integers(0, 300), st.integers(1, 40))
def test_windows_hold_every_token_and_each_is_at_home_in_one_of_them(length, room):
    windows, home = windowed(length, room)
    assert {at for window in windows for at in window} == set(range(length))
    assert all(len(window) <= room for window in windows) and len(home) == length + 1
    for at in range(length):
        assert at in windows[home[at]]
        best = max(to_an_edge(at, window, length) for window in windows if at in window)
        assert to_an_edge(at, windows[home[at]], length) >= best - 1


def test_a_long_text_is_read_in_windows_and_no_word_is_lost(directory_of):
    tokenizer = TextTokenizer.read(directory_of("bert"), 12)
    text = " ".join(["music"] * 50 + ["x" * 300] + ["film"] * 20)
    read = read_words(tokenizer, [text, "film"], [spans_in(text), spans_in("film")])
    assert read.counts[0] > 6 and read.counts[1] == 1 and read.tokens.lengths.max() == 12
    assert (read.first >= 0).all() and len(set(read.first)) == 72
    words = [tokenizer.tokenizer.id_to_token(int(token)) for token in read.tokens.ids[read.first]]
    assert words[:50] == ["music"] * 50 and words[51:71] == ["film"] * 20
