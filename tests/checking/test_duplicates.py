"""Repeats and near-duplicates: what counts as one, and that none is missed on account of speed."""

import numpy as np
import pytest

from headwise.checking.similar import SIMILAR, plain, resemblance, shingles, similar

LONG = "the parcel that i ordered two weeks ago has still not arrived at my house in town"


def pairs(*texts):
    return {(one, other) for one, other, _ in similar([plain(text) for text in texts])}


@pytest.mark.parametrize(
    "other",
    [
        LONG.replace("parcel", "parcle"),
        LONG.replace("still ", ""),
        LONG + " please",
        LONG.replace("two weeks", "three weeks"),
    ],
)
def test_a_small_edit_of_a_long_text_is_found(other):
    assert pairs(LONG, "something else entirely, about a kitchen table", other) == {(0, 2)}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("where is my card", "where is my crad", True),
        ("where is my card", "where is my cards", True),
        ("where is my card", "where is your cat", False),
        ("房间很干净，服务也很好，值得推荐", "房间很干净，服务也好，值得推荐", True),
        ("不好看", "好看", False),  # too short for a letter not to matter
        ("yes", "yet", False),
    ],
)
def test_of_short_texts_one_slip_is_a_near_duplicate(one, other, alike):
    assert bool(pairs(one, other)) == alike


def test_case_width_blanks_and_punctuation_do_not_count():
    assert plain(" Ｈello,  World! ") == plain("hello world") == "helloworld"
    assert plain("...") == "..." and plain("good 😀") != plain("good 😡")


def test_both_sides_of_a_pair_have_to_be_alike():
    ours, theirs = (f"{plain(LONG)}\0{plain(second)}" for second in ("a man sleeps", "nobody is there"))
    assert list(similar([ours, theirs])) == []


def test_as_many_pairs_as_comparing_everything_finds():
    random = np.random.default_rng(0)
    words = [f"w{number}" for number in range(300)]
    texts = [" ".join(random.choice(words, 15)) for _ in range(150)]
    texts += [text.replace(random.choice(text.split()), "changed") for text in texts]
    keys = [plain(text) for text in texts]
    sets = [shingles(key) for key in keys]
    expected = {
        (one, other)
        for one in range(len(sets))
        for other in range(one + 1, len(sets))
        if resemblance(sets[one], sets[other]) >= SIMILAR
    }
    found = {(one, other) for one, other, _ in similar(keys)}
    assert len(expected) > 100 and found == expected


def test_many_copies_of_a_template_take_no_time():
    texts = [f"your code for the account is {number:06}" for number in range(3000)]
    assert {other for _, other, _ in similar([plain(text) for text in texts])} > set(range(1500, 3000))
