"""Batches: every row once, in an order that only seed and epoch decide, never more at once than allowed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwise.reading.batches import by_length, even_passes, packed, passes, shuffled
from headwise.reading.text import Tokens


def test_the_order_of_an_epoch_follows_from_seed_and_epoch_alone():
    first = shuffled(100, 42, 0).copy()
    shuffled(7, 1, 1)
    shuffled(100, 42, 1)
    np.random.seed(0)
    assert np.array_equal(shuffled(100, 42, 0), first)
    assert sorted(first) == list(range(100))
    others = [shuffled(100, 42, 1), shuffled(100, 43, 0), shuffled(101, 42, 0)[:100]]
    assert not any(np.array_equal(first, other) for other in others)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 9), st.sampled_from([1, 20, 60, 1000]))
def test_passes_cover_every_row_once_in_order_within_both_limits(lengths, most_rows, most_tokens):
    lengths = np.array(lengths)
    rows = shuffled(len(lengths), 0, 0)
    found = list(passes(rows, lengths, most_tokens, most_rows))
    assert np.array_equal(np.concatenate(list(passes(rows, lengths, most_tokens))), rows)
    assert np.array_equal(np.concatenate(found), rows)
    for some, following in zip(found, [*found[1:], None], strict=True):
        assert 1 <= len(some) <= most_rows
        assert lengths[some].sum() <= most_tokens or len(some) == 1
        if following is not None:  # none is cut short without need
            assert len(some) == most_rows or lengths[some].sum() + lengths[following[0]] > most_tokens


def test_no_rows_make_no_passes():
    assert list(passes(np.zeros(0, np.int64), np.zeros(0, np.int64), 8)) == []


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.sampled_from([1, 20, 60, 1000]))
def test_even_passes_have_every_row_once_and_about_as_many_tokens(lengths, most_tokens):
    lengths = np.array(lengths)
    rows = shuffled(len(lengths), 0, 0)
    found = even_passes(rows, lengths, most_tokens)
    assert sorted(np.concatenate(found)) == sorted(rows) and min(map(len, found)) > 0
    tokens, even = [lengths[some].sum() for some in found], lengths.sum() / len(found)
    assert max(tokens) - min(tokens) <= lengths.max()
    assert even <= most_tokens or len(found) == len(rows)
    assert len(found) == 1 or 2 * even > most_tokens  # none is cut without need
    assert len(found) in (1, 2, 4, 8, 16, 32, len(rows))


def test_rows_end_to_end_with_their_types():
    tokens = Tokens(
        np.arange(6, dtype=np.int32), np.array([0, 0, 1, 0, 0, 1], np.int8), np.array([3, 1, 2]), np.zeros(3, int), None
    )
    ids, types = packed(tokens, np.array([2, 0]))
    assert ids.data.tolist() == [4, 5, 0, 1, 2] and ids.lengths.each == (2, 3)
    assert types.tolist() == [0, 1, 0, 0, 1]
    assert by_length(tokens.lengths).tolist() == [1, 2, 0]
