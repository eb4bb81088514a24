"""Sequences laid end to end: nothing is lost, nothing is padded, everything is where it says."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwise.core.packed import Lengths, Packed

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12).map(tuple)


def test_an_example_by_hand():
    packed = Packed.of([torch.tensor([7.0, 9.0]), torch.tensor([4.0]), torch.tensor([1.0, 2.0, 3.0])])
    assert packed.data.tolist() == [7, 9, 4, 1, 2, 3]
    assert packed.lengths.each == (2, 1, 3)
    assert packed.lengths.starts.tolist() == [0, 2, 3]
    assert packed.lengths.sequence.tolist() == [0, 0, 1, 2, 2, 2]
    assert packed.lengths.positions.tolist() == [0, 1, 0, 0, 1, 2]
    assert packed.firsts().data.tolist() == [7, 4, 1]
    assert packed.with_data(packed.data[:, None]).means().tolist() == [[8], [4], [2]]
    (rectangle,) = packed.lengths.rectangles
    assert rectangle.rows == (1, 0, 2)
    assert (rectangle.pad(packed.data) * rectangle.real).tolist() == [[4, 0, 0], [7, 9, 0], [1, 2, 3]]


@pytest.mark.parametrize("lengths", [(), (3, 0), (-1,)])
def test_a_batch_without_sequences_or_with_an_empty_one_is_refused(lengths):
    with pytest.raises(ValueError, match="at least one sequence and no empty one"):
        Lengths(lengths)


@given(LENGTHS)
def test_unpacking_gives_back_what_was_packed(lengths):
    sequences = [torch.randn(length, 2) for length in lengths]
    back = Packed.of(sequences).unpack()
    assert all(torch.equal(a, b) for a, b in zip(sequences, back, strict=True))


@given(LENGTHS)
def test_pooling_is_that_of_each_sequence(lengths):
    packed = Packed.of([torch.randn(length, 3) for length in lengths])
    assert torch.equal(packed.firsts().data, torch.stack([part[0] for part in packed.unpack()]))
    assert torch.allclose(packed.means(), torch.stack([part.mean(0) for part in packed.unpack()]), atol=1e-5)


@given(LENGTHS)
def test_rectangles_cover_each_position_once_and_cells_find_it_again(lengths):
    these = Lengths(lengths)
    data = torch.arange(sum(lengths))
    real = torch.cat([part.pad(data)[part.real] for part in these.rectangles])
    assert torch.equal(real.sort().values, data)
    assert sorted(row for part in these.rectangles for row in part.rows) == list(range(len(lengths)))
    cells = torch.cat([part.pad(data).flatten() for part in these.rectangles])
    assert torch.equal(cells if these.cells is None else cells[these.cells], data)


@given(LENGTHS)
def test_a_rectangle_holds_sequences_of_like_length_only(lengths):
    for part in Lengths(lengths).rectangles:
        shortest = min(lengths[row] for row in part.rows)
        assert part.width == max(lengths[row] for row in part.rows) <= 8 + shortest * 5 // 4


@given(LENGTHS, st.randoms(use_true_random=False))
def test_a_rectangle_of_any_rows_in_any_order_holds_those_rows(lengths, random):
    packed = Packed.of([torch.randn(length) for length in lengths])
    rows = random.sample(range(len(lengths)), random.randint(1, len(lengths)))
    rectangle = packed.lengths.rectangle(rows)
    for row, cells, real in zip(rows, rectangle.pad(packed.data), rectangle.real, strict=True):
        assert torch.equal(cells[real], packed.unpack()[row])


def test_what_a_batch_needed_is_freed_with_it():
    lengths = Lengths((3, 5, 20))
    left = [weakref.ref(part.real) for part in lengths.rectangles]
    gc.disable()
    try:
        del lengths
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


def test_sequences_of_one_length_are_not_copied():
    packed = Packed.of([torch.randn(5, 2) for _ in range(3)])
    (rectangle,) = packed.lengths.rectangles
    assert packed.lengths.cells is None
    assert rectangle.pad(packed.data).data_ptr() == packed.data.data_ptr()
