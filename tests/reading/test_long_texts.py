"""Windows: every token of a long text is in one, they are transformers' own, and what is left out is counted."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from headwise.reading.batches import Examples
from headwise.reading.long_texts import OVERLAP, sizes, windows
from headwise.reading.text import TextTokenizer

WORDS = ["a", "fine", "film", "warm", "and", "funny", "she", "smiles", "the", "music", "plays"]
SHORT, LONG = "a fine film", " ".join(WORDS * 9)
LENGTH = 24
STRIDE = int(LENGTH * OVERLAP)


@pytest.fixture
def tokenizer(directory_of):
    return lambda family="bert", most=16, length=LENGTH: TextTokenizer.read(directory_of(family), length, None, most)


def split(tokens):
    return [part.tolist() for part in np.split(tokens.ids, tokens.starts[1:])]


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("texts", [[LONG, SHORT, LONG[:200]], [(SHORT, LONG), (LONG, SHORT), (SHORT, SHORT)]])
def test_windows_are_those_of_transformers(family, texts, tokenizer, directory_of):
    from transformers import AutoTokenizer

    tokens, counts = windows(tokenizer(family), texts)
    theirs = AutoTokenizer.from_pretrained(directory_of(family))
    wanted = []
    for text in texts:
        sides, how = ([text], "only_first") if isinstance(text, str) else (text, "only_first")
        if len(sides) == 2 and len(sides[1]) > len(sides[0]):
            how = "only_second"
        wanted.append(theirs(*sides, truncation=how, max_length=LENGTH, stride=STRIDE, return_overflowing_tokens=True))
    assert split(tokens) == [ids for one in wanted for ids in one["input_ids"]]
    assert counts.tolist() == [len(one["input_ids"]) for one in wanted] and counts.max() > 3
    assert tokens.lengths.max() <= LENGTH and not tokens.cut.any()


def test_every_token_of_a_text_is_in_a_window(tokenizer):
    tokens, _ = windows(tokenizer(), [LONG])
    parts = [part[1:-1] for part in split(tokens)]
    joined = parts[0] + [one for part in parts[1:] for one in part[STRIDE:]]
    assert joined == tokenizer().tokenizer.encode(LONG, add_special_tokens=False).ids
    assert all(part[:STRIDE] == before[-STRIDE:] for before, part in pairwise(parts))


def test_texts_that_fit_are_left_as_they_are(tokenizer):
    texts = [SHORT, "dull", SHORT]
    tokens, counts = windows(tokenizer(), texts)
    assert counts is None and np.array_equal(tokens.ids, tokenizer().encode(texts).ids)


def test_one_window_is_the_text_cut(tokenizer):
    tokens, counts = windows(tokenizer(most=1), [LONG, SHORT])
    assert counts is None and tokens.cut.tolist() == tokenizer().encode([LONG, SHORT]).cut.tolist()


@pytest.mark.parametrize("text", [LONG, (SHORT, LONG)])
def test_what_the_last_window_does_not_reach_is_counted(text, tokenizer):
    whole, _ = windows(tokenizer(), [text])
    tokens, two = windows(tokenizer(most=2), [SHORT if isinstance(text, str) else (SHORT, SHORT), text])
    assert two.tolist() == [1, 2] and split(tokens)[1:] == split(whole)[:2]
    around = 2 if isinstance(text, str) else tokenizer().encode([(SHORT, "")]).lengths[0]
    rest = split(whole)[2:]
    assert tokens.cut.tolist() == [0, 0, sum(len(one) - around - STRIDE for one in rest)]


def test_a_pair_of_two_long_texts_is_cut_and_counted(tokenizer):
    tokens, counts = windows(tokenizer(), [(LONG, LONG), (SHORT, LONG)])
    assert counts[0] == 1 and counts[1] > 3 and tokens.lengths[0] == LENGTH
    assert tokens.cut[0] == tokenizer().encode([(LONG, LONG)]).cut[0] > 0


def test_an_endless_text_is_cut_in_time_and_blanks_are_none_of_it(tokenizer):
    tokens, counts = windows(tokenizer(), ["film " * 1_000_000, "film" + " " * 1_000_000 + LONG])
    assert counts[0] == 16 and 900_000 < tokens.cut[15] < 1_100_000
    assert counts[1] < 16 and not tokens.cut[16:].any()


def test_what_is_told_of_rows_counts_rows_however_many_sequences_each_is(tokenizer):
    tokens = tokenizer().encode([LONG, LONG, SHORT, SHORT])
    pairs, windowed = Examples(tokens, counts=np.array([2, 2])), Examples(tokens, origin=np.array([0, 0, 1, 2]))
    assert "train: 2 rows" in sizes("train", pairs, tokenizer(), apart=True)
    assert "cut at 24: 1 rows (50.0%) lose" in sizes("train", pairs, tokenizer(), apart=True)
    assert "train: 3 rows" in sizes("train", windowed, tokenizer())
    assert "cut at 24: 1 rows (33.3%) lose" in sizes("train", windowed, tokenizer())
    assert [one.sequences_of_rows.tolist() for one in (pairs, windowed, Examples(tokens))] == [
        [2, 2],
        [2, 1, 1],
        [1] * 4,
    ]


@pytest.mark.parametrize("length", [3, 4, 9])
def test_the_shortest_windows_work(length, tokenizer):
    tokens, counts = windows(tokenizer(length=length), [LONG, (SHORT, LONG)][: 1 if length < 9 else 2])
    assert counts[0] == 16 and tokens.lengths.max() == length


def test_threads_that_read_at_once_do_not_cut_each_others_texts(tokenizer):
    own, texts = tokenizer(), [" ".join(WORDS * (1 + number % 9)) for number in range(30)]
    read = lambda text: windows(own, [text])[0].ids.tolist()  # noqa: E731
    expected = [read(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, texts * 20)) == expected * 20
    own = pickle.loads(pickle.dumps(own))
    assert read(texts[-1]) == expected[-1]
