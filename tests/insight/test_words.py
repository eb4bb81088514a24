"""Words are whole, exact pieces of the text, whatever the tokenizer does to it; ids are those of encode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from headwise.insight.words import pieces, segments
from headwise.reading.text import TextTokenizer

HARD = [
    "a fine film , warm and funny",
    "这部电影很好看,情节不无聊。",
    "  A fine  Film!\tÉté 😀 un[SEP]known</s> 12.5%  ",
    "我看了iPhone 15的film，真的 good👨‍👩‍👧👍🏽!",
    ("dull ", " she smiles 音乐"),
    ("这部电影", ""),
    "e\u0301te\u0301 na\u0308ive ﬁne ½",
    "\x00a\u200bb\u3000c",
]
ALPHABET = st.sampled_from(
    ["a", "film", "好", "电影", "无聊", " ", "  ", "\t", "\n", "😀", "👍🏽", "\u0301", "1", ".", "'", "é", "ﬁ"]
)
TEXTS = st.one_of(st.lists(ALPHABET, max_size=20).map("".join), st.text(max_size=20))


def sentencepiece(texts, most) -> TextTokenizer:
    """A tokenizer as XLM-R's and E5's: compatibility forms undone, blanks written into the pieces."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ends)
    return TextTokenizer(tokenizer, {}, most)


@pytest.fixture(scope="module")
def tokenizer_of(directory_of, films):
    def tokenizer_of(family, most=64):
        if family == "sentencepiece":
            return sentencepiece([text for text, _ in films], most)
        return TextTokenizer.read(directory_of(family), most)

    return tokenizer_of


KINDS = pytest.mark.parametrize("kind", ["bert", "roberta", "sentencepiece"])


def check(tokenizer, text):
    """Everything that holds of the words of any text."""
    found, tokens = pieces(tokenizer, text), tokenizer.encode([text])
    assert found.ids.tolist() == tokens.ids.tolist()
    assert found.types.tolist() == tokens.types.tolist()
    assert found.text == text and len(found.names) == len(found.ids) == len(found.word_of)
    sides = (text,) if isinstance(text, str) else text
    before = (0, 0)
    for word in found.words:
        assert word.text and word.text == sides[word.side][word.start : word.end]
        assert word.text == word.text.strip()
        assert (word.side, word.start) >= before
        before = (word.side, word.end)
    of_words = found.word_of[found.word_of >= 0]
    assert sorted(set(of_words.tolist())) == list(range(len(found.words)))
    assert (np.diff(of_words) >= 0).all()
    return found


@KINDS
@pytest.mark.parametrize("text", HARD)
def test_hard_texts(kind, text, tokenizer_of):
    check(tokenizer_of(kind), text)


@KINDS
@given(TEXTS, st.none() | TEXTS)
@example(" ", None)
@example("", "a")
def test_any_text(kind, tokenizer_of, text, second):
    check(tokenizer_of(kind), text if second is None else (text, second))


@KINDS
@pytest.mark.parametrize("text", [*HARD[:4], ("we laughed all the way home", "这部电影很好看")])
def test_what_is_cut_is_what_encode_cuts(kind, text, tokenizer_of):
    for most in (6, 9):
        found = check(tokenizer_of(kind, most), text)
        assert len(found.ids) <= most


@given(TEXTS)
def test_segments_hold_every_character_but_blanks(text):
    spans = segments(text)
    held = [at for start, end in spans for at in range(start, end)]
    assert held == [at for at, character in enumerate(text) if not character.isspace()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't pay 1,000.50 for v2.5!", ["Don't", "pay", "1,000.50", "for", "v2.5", "!"]),
        ("state-of-the-art...", ["state", "-", "of", "-", "the", "-", "art", ".", ".", "."]),
        ("这部电影很好看,情节无聊。", ["这部", "电影", "很", "好看", ",", "情节", "无聊", "。"]),
        ("我用iPhone15拍的电影", ["我用", "iPhone15", "拍", "的", "电影"]),
        ("😀👍🏽👨‍👩‍👧e\u0301te\u0301", ["😀", "👍🏽", "👨‍👩‍👧", "e\u0301te\u0301"]),
    ],
)
def test_words_are_what_people_call_words(text, words):
    assert [text[start:end] for start, end in segments(text)] == words


def test_pieces_of_one_word_and_special_tokens_are_told_apart(tokenizer_of):
    found = pieces(tokenizer_of("bert"), ("unfunny film", "很好看"))
    assert [word.text for word in found.words] == ["unfunny", "film", "很", "好看"]
    assert [word.side for word in found.words] == [0, 0, 1, 1]
    assert found.special.tolist() == [name in ("[CLS]", "[SEP]") for name in found.names]
    assert found.mask == tokenizer_of("bert").tokenizer.token_to_id("[MASK]") == tokenizer_of("bert").mask_id
    typed = pieces(tokenizer_of("bert"), "a [SEP] b")  # written by a person, so a word
    assert [word.text for word in typed.words] == ["a", "[SEP]", "b"]


def test_a_piece_across_two_words_makes_them_one():
    alphabet = {"[UNK]": 0, "好看": 1, "的电": 2, "影": 3}
    tokenizer = Tokenizer(models.WordPiece(alphabet, unk_token="[UNK]", continuing_subword_prefix=""))
    found = pieces(TextTokenizer(tokenizer, {}, 9), "好看的电影")
    assert [word.text for word in found.words] == ["好看", "的电影"]
    assert found.word_of.tolist() == [0, 1, 1] and found.mask is None
