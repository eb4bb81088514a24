"""Text becomes the ids transformers would make of it; what is cut is counted, what is unknown is seen."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from headwise.errors import InputError
from headwise.job import unknown
from headwise.reading.text import Texts, TextTokenizer

NEWER, OLDER = ["tokenizer.json"], ["vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json"]
HARD = ["a fine film", "A FINE  Film!\tÉté", "这部电影, 好看吗?", "", " ", "un[SEP]known zebra 😀", "film's\nend 12.5%"]


@pytest.fixture
def ours(directory_of):
    return lambda family, most=64: TextTokenizer.read(directory_of(family), most)


@pytest.fixture
def stripped(directory_of, tmp_path):
    """A copy of a model directory without some of its files."""

    def stripped(family, *names):
        place = shutil.copytree(directory_of(family), tmp_path / family)
        for name in names:
            (place / name).unlink(missing_ok=True)
        return place

    return stripped


@pytest.mark.parametrize("absent", [OLDER[:-1], NEWER, [*NEWER, "tokenizer_config.json"]], ids=["new", "old", "bare"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_ids_and_types_are_those_of_transformers(family, absent, stripped):
    from transformers import AutoTokenizer

    place = stripped(family, *absent)
    theirs, tokenizer = AutoTokenizer.from_pretrained(place), TextTokenizer.read(place, 64)
    pairs = [(text, other) for text in HARD for other in HARD[:3]]
    for texts, columns in ((HARD, (HARD,)), (pairs, tuple(map(list, zip(*pairs, strict=True))))):
        tokens, expected = tokenizer.encode(texts), theirs(*columns, return_token_type_ids=True)
        assert tokens.ids.tolist() == [number for row in expected["input_ids"] for number in row]
        assert tokens.lengths.tolist() == list(map(len, expected["input_ids"]))
        if family == "bert":
            assert tokens.types.tolist() == [kind for row in expected["token_type_ids"] for kind in row]
        else:
            assert not tokens.types.any()


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_what_is_cut_is_what_transformers_cuts_and_is_counted(family, directory_of, ours):
    from transformers import AutoTokenizer

    theirs, tokenizer = AutoTokenizer.from_pretrained(directory_of(family)), ours(family, 10)
    texts = ["a fine film , warm and funny", "dull", "nothing works in this story " * 3]
    pairs = [(texts[0], texts[2]), (texts[2], texts[1]), (texts[1], texts[1])]
    for given, columns in ((texts, (texts,)), (pairs, tuple(map(list, zip(*pairs, strict=True))))):
        tokens, whole = tokenizer.encode(given), theirs(*columns)["input_ids"]
        cut = theirs(*columns, truncation=True, max_length=10)["input_ids"]
        assert tokens.ids.tolist() == [number for row in cut for number in row]
        assert tokens.cut.tolist() == [max(0, len(row) - 10) for row in whole]
        assert tokens.lengths.tolist() == list(map(len, cut))


def test_rows_are_taken_out_in_any_order(ours):
    tokens = ours("bert").encode(["a fine film", ("dull", "slow"), "we laughed all the way"])
    assert tokens.types.tolist().count(1) == 2  # the second text and its end
    some = tokens.select(np.array([2, 0, 2]))
    rows = np.split(tokens.ids, np.cumsum(tokens.lengths)[:-1])
    assert some.ids.tolist() == [*rows[2], *rows[0], *rows[2]]
    assert some.lengths.tolist() == [len(rows[2]), len(rows[0]), len(rows[2])] and len(some) == 3


def test_more_texts_than_one_chunk(ours):
    texts = ["a fine film", "dull"] * 1500
    tokens = ours("bert").encode(texts)
    assert len(tokens) == 3000 and tokens.lengths.tolist() == [5, 3] * 1500
    arrow = pa.chunked_array([texts[:1100], texts[1100:]])
    assert np.array_equal(ours("bert").encode(Texts(arrow)).ids, tokens.ids)
    pairs = Texts(arrow, arrow)
    assert pairs[1] == ("dull", "dull") and pairs[-2:] == [("a fine film",) * 2, ("dull",) * 2]


def test_padding_and_truncation_of_the_tokenizers_own_are_off_and_not_saved(stripped, tmp_path):
    place = stripped("bert")
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=30)
    tokenizer.save(str(place / "tokenizer.json"))
    ours = TextTokenizer.read(place, 64)
    assert ours.encode(["we laughed all the way home"]).lengths.tolist() == [8]
    (tmp_path / "saved").mkdir()
    ours.encode(["film " * 99])
    ours.write(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/tokenizer.json").read_text())
    assert saved["truncation"] is None and saved["padding"] is None
    assert json.loads((tmp_path / "saved/tokenizer_config.json").read_text())["model_max_length"] == 64


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_tokenizer_without_a_config_is_saved_with_its_special_tokens(family, stripped, tmp_path):
    """Without them transformers could not pad a batch."""
    from transformers import AutoTokenizer

    place = stripped(family, *NEWER, "tokenizer_config.json")
    TextTokenizer.read(place, 64).write(place)
    theirs = AutoTokenizer.from_pretrained(place)
    assert theirs(["dull", "a fine film"], padding=True)["attention_mask"] == [[1, 1, 1, 0, 0], [1] * 5]


def test_who_opens_what_is_written_reads_pairs_as_we_do(stripped):
    """A base whose tokenizer_config.json names no class, as many on the hub: transformers then has no types of its own,
    and a pair would be read as one text."""
    from transformers import AutoTokenizer

    place = stripped("bert", *NEWER)
    bare = {"do_lower_case": True, "truncation_side": "left"}
    (place / "tokenizer_config.json").write_text(json.dumps(bare), encoding="utf-8")
    ours = TextTokenizer.read(place, 6)
    ours.write(place)
    theirs = AutoTokenizer.from_pretrained(place)
    given = theirs("a fine film", "dull , slow", truncation=True)
    tokens = ours.encode([("a fine film", "dull , slow")])
    assert given["token_type_ids"] == tokens.types.tolist() and 1 in given["token_type_ids"]
    assert given["input_ids"] == tokens.ids.tolist(), "cut at the end, as here"


@pytest.mark.parametrize("why", ["one type", "told"])
def test_types_are_those_that_the_model_and_its_tokenizer_know(why, stripped):
    place = stripped("bert")
    if why == "told":
        config = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
        config["model_input_names"] = ["input_ids", "attention_mask"]
        (place / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = TextTokenizer.read(place, 64, None, 1, 1 if why == "one type" else 2)
    assert not tokenizer.encode([("a fine film", "dull")]).types.any()


def test_vocabulary_files_alone_are_read_as_transformers_reads_them(stripped):
    from transformers import AutoTokenizer

    place = stripped("roberta", *NEWER)
    text = "a <mask> film"
    assert (
        TextTokenizer.read(place, 64).encode([text]).ids.tolist()
        == AutoTokenizer.from_pretrained(place)(text)["input_ids"]
    )
    place = stripped("bert", *NEWER)
    config = {"do_lower_case": False, "strip_accents": True}
    (place / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    plain = TextTokenizer.read(place, 64)
    assert plain.encode(["fílm"]).ids.tolist() == plain.encode(["film"]).ids.tolist()


def test_a_text_of_four_million_characters_is_read_at_once(ours):
    began = time.process_time()
    tokens = ours("bert").encode(["a fine film " * 350_000, "dull"])
    assert time.process_time() - began < 1  # second of the processor; read whole it takes 3 to 7
    assert tokens.lengths.tolist() == [64, 3] and tokens.cut[1] == 0
    assert 0.98 < tokens.cut[0] / 1_050_000 < 1.02  # reckoned from what was read


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("long", ["q", " ", "a7"])
def test_one_endless_word_or_blank_is_read_at_once_and_hides_nothing(long, family, ours):
    began = time.process_time()
    ends, pair = ours(family).encode([long * 2_000_000 + " dull", (long * 2_000_000, "dull")]), ours(family)
    assert time.process_time() - began < 1  # second of the processor; read whole it takes 3 to 7
    shorter = pair.encode([long * 50_000 + " dull", (long * 50_000, "dull")])  # known to be read whole
    assert ends.ids.tolist() == shorter.ids.tolist() and ends.lengths.tolist() == shorter.lengths.tolist()


def test_words_behind_many_blanks_are_not_lost(ours):
    tokens = ours("bert").encode([" " * 10_000 + "a fine film", "q" * 200 + " dull" * 5, ("q " + " " * 9000, "dull")])
    assert tokens.lengths[0] == 5
    behind = ours("bert").encode([("zz" * 100 + " ") * 60 + "dull"])  # each word is one unknown token
    assert behind.lengths.tolist() == [63]


def test_a_language_the_model_cannot_read_is_warned_of(ours):
    tokenizer = ours("bert")
    readable, foreign = tokenizer.encode(["a fine film"] * 9), tokenizer.encode(["фильм отличный"] * 9)
    assert unknown(readable, "tiny") == [] and readable.unknown == 0
    (warning,) = unknown(foreign, "tiny")
    assert foreign.unknown == 18
    assert warning.startswith("50% of the tokens are unknown to tiny: it was not made for this language")


@pytest.mark.parametrize("wrong", [None, 5, "\ud800", ("a", None), ("a", "b", "c")])
def test_what_is_no_text_is_refused(wrong, ours):
    with pytest.raises(InputError, match="expected texts, or pairs of texts, in valid Unicode"):
        ours("bert").encode(["fine", wrong])


def test_a_directory_without_a_tokenizer_or_with_a_damaged_one_is_refused(stripped):
    place = stripped("roberta", *NEWER, *OLDER)
    with pytest.raises(InputError, match=r"roberta: no tokenizer\.json, vocab\.txt or merges\.txt; make one"):
        TextTokenizer.read(place, 64)
    (place / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(InputError, match=r"roberta: the tokenizer cannot be read \(.*\); fetch the model again"):
        TextTokenizer.read(place, 64)
    (place / "tokenizer_config.json").write_text("[1")
    with pytest.raises(InputError, match=r"tokenizer_config\.json: not valid JSON"):
        TextTokenizer.read(place, 64)
