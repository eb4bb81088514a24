"""Words over many texts: counted rightly, with intervals that hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headwise.insight.corpus import driving_words
from headwise.insight.question import Pieces, Word


def explained(text: str, *scores: float):
    """A text of words between blanks, and what each of them did."""
    words = tuple(Word(word, 0, 0) for word in text.split())
    nothing = np.zeros(len(words), np.int64)
    return Pieces(text, nothing, nothing, tuple(text.split()), words, np.arange(len(words))), np.array(scores)


def test_words_are_counted_whatever_their_case():
    texts = [explained("Fine fine dull", 1.0, 3.0, -1.0), explained("FINE once", 5.0, 9.0), explained("dull", -2.0)]
    found = driving_words(texts, "good", "some method", least_texts=2)
    assert [(one.word, one.count, one.texts, one.mean) for one in found.words] == [
        ("fine", 3, 2, 3.0),
        ("dull", 2, 2, -1.5),
    ]
    assert (found.texts, found.left_out) == (3, 1)
    assert all(one.low <= one.mean <= one.high for one in found.words)
    assert json.loads(json.dumps(found.as_dict()))["words"][0]["word"] == "fine"


def test_intervals_hold_the_truth_in_19_of_20():
    held = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        means = generator.normal(0.5, 1, size=40)  # of a word in each text
        texts = [explained("w " * 3, *(mean + generator.normal(size=3))) for mean in means]
        (word,) = driving_words(texts, "good", "some method").words
        held.append(word.low <= 0.5 <= word.high)
    assert 0.89 <= np.mean(held) <= 0.99


def test_the_table_shows_the_sure_words_and_nothing_hostile():
    texts = [explained("up down \x1b[31mred maybe", 1 + i / 99, -1 - i / 99, 0.5, (-1) ** i) for i in range(10)]
    shown = driving_words(texts, "go\x1bod", "some method").as_text(most=1)
    up, down = (line for line in shown.splitlines() if line.endswith(("up", "down")))
    assert up.startswith("     +1.045") and down.startswith("     -1.045")
    assert "maybe" not in shown and "red" not in shown and "\x1b" not in shown
    assert shown.endswith("left out: 1 words with 0 in their interval, 0 in fewer than 5 texts")
    assert "no word's interval leaves out 0" in driving_words(texts[:1], "good", "some method").as_text()


def test_the_same_seed_gives_the_same_intervals():
    texts = [explained("w", float(i % 7)) for i in range(50)]
    ends = [driving_words(texts, "good", "some method", seed=seed).words[0].low for seed in (0, 0, 1)]
    assert ends[0] == ends[1] != ends[2]
    assert ends[0] == pytest.approx(3 - 1.96 * np.std(np.arange(50) % 7) / 50**0.5, abs=0.15)
