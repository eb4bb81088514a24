"""Splitting rows: no text in two parts, every class in every part it can be in, the same seed the same rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwise.errors import InputError
from headwise.reading import script, shared_texts, split

TEXTS = [f"text {row}" for row in range(1000)]
LABELS = np.array([0] * 700 + [1] * 250 + [2] * 50)


def test_every_label_in_its_share():
    parts = split(TEXTS, LABELS, (0.8, 0.1, 0.1), seed=1).parts
    counts = [np.bincount(LABELS[part]).tolist() for part in parts]
    assert counts == [[560, 200, 40], [70, 25, 5], [70, 25, 5]]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1000))
    assert all(np.all(np.diff(part) > 0) for part in parts)


def test_the_seed_decides():
    first, again, other = (split(TEXTS, LABELS, (0.9, 0.1), seed).parts[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert split(TEXTS[:10], None, (0.5, 0.5), seed=0).parts[1].tolist() == [0, 1, 5, 8, 9]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1), st.integers(0, 99))
def test_no_text_in_two_parts_and_no_row_lost(rows, seed):
    texts, labels = [str(text) for text, _ in rows], np.array([label for _, label in rows])
    try:
        parts = split(texts, labels, (0.6, 0.2, 0.2), seed).parts
    except InputError:
        return
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    seen = [{texts[row] for row in part} for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_a_small_class_is_in_every_part_or_in_the_first():
    labels = pa.array(["big"] * 900 + ["rare"] * 3 + ["once"] * 2 + ["big"] * 95)
    result = split(pa.chunked_array([TEXTS[:500], TEXTS[500:]]), labels, (0.9, 0.05, 0.05), seed=3)
    rows = [[labels[row].as_py() for row in part] for part in result.parts]
    assert [part.count("rare") for part in rows] == [1, 1, 1]
    assert [part.count("once") for part in rows] == [2, 0, 0]
    assert result.notes == ("only in the first part, with fewer than 3 distinct texts: label 'once'",)


def test_lists_of_tokens_are_texts_too():
    parts = split(pa.array([["a", "b"], ["ab"], ["a", "b"], ["c"]]), None, (0.5, 0.5), seed=0).parts
    assert any({0, 2} <= set(part.tolist()) for part in parts)


def test_too_few_texts_and_wrong_fractions():
    with pytest.raises(InputError, match=r"1 distinct texts.*give each part a file"):
        split(["a", "a"], None, (0.5, 0.5), seed=0)
    for fractions in ((0.9, 0.2), (1.0, 0.0)):
        with pytest.raises(InputError, match="add up to 1"):
            split(TEXTS, LABELS, fractions, seed=0)


def test_shared_texts():
    assert shared_texts(["a", "b", "b", "c"], ["b", "d", "b", "c"]) == (2, 3)
    assert shared_texts(pa.chunked_array([["a"], ["b"]]), pa.chunked_array([["b"], ["b"]])) == (1, 2)
    assert shared_texts(["a"], ["A"]) == (0, 0)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["房间很干净，用了 WiFi。", "早餐一般"], "Chinese"),
        (["The room was clean and quiet.", "What is my balance?"], "English"),
        (["The room was clean and the breakfast was good", "房间很干净"], "Chinese and English"),
        (["La chambre était propre", "Das Zimmer war sauber"], "Latin script"),
        (["Очень хорошо", "良いです"], "unknown script"),
        (["123", "..."], "unknown script"),
        ([""], "unknown script"),
    ],
)
def test_script(texts, expected):
    assert script(texts) == expected
    assert script(pa.chunked_array([texts, texts])) == expected
