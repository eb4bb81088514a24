"""Explanations made up by hand, so that what shows them is tested without a model."""

from __future__ import annotations

import re

import numpy as np
import pytest

from headwise.insight.explanation import Array, Attribution, Curves, Explanation, Receipt
from headwise.insight.question import Pieces, Question, Word
from headwise.reading.text import Text

HOSTILE = (
    "<img src=x onerror=alert(1)> </script><script>alert('text')</script> \u2028 \x00 \ud800 <!-- <script> & so on"
)


def cut_into_pieces(text: Text) -> Pieces:
    """English words, Chinese characters by two, marks; a word of more than eight letters is two pieces."""
    words, names, word_of, types = [], ["[CLS]"], [-1], [0]
    for side, one in enumerate([text] if isinstance(text, str) else text):
        for found in re.finditer(r"[\u4e00-\u9fff]{1,2}|\w+|[^\w\s]", one):
            word = found[0]
            pieces = [word] if len(word) <= 8 else [word[:6], "##" + word[6:]]
            names += pieces
            word_of += [len(words)] * len(pieces)
            words.append(Word(word, found.start(), found.end(), side))
        names.append("[SEP]")
        word_of.append(-1)
        types += [side] * (len(names) - len(types))
    if len(names) > 512:  # the model's limit
        names, word_of, types = [*names[:511], "[SEP]"], [*word_of[:511], -1], types[:512]
        words = words[: max(word_of) + 1]
    return Pieces(text, np.arange(len(names)), np.array(types), tuple(names), tuple(words), np.array(word_of))


def make_attention(pieces: Pieces, layers: int, heads: int, random: np.random.Generator) -> dict[int, Array]:
    """Heads that look at the token before, the first, the separators, the same word, or here and there."""
    count = len(pieces.names)
    same = np.array([[name == other for other in pieces.names] for name in pieces.names], float)
    patterns = [np.eye(count, k=-1), np.eye(count)[[0] * count], np.tile(pieces.special / 2, (count, 1)), same]
    patterns += [np.exp(-(((np.arange(count)[:, None] - np.arange(count)) / 6) ** 2)), np.ones((count, count)) / count]
    weights = {}
    for layer in range(layers):
        mixed = [4 * patterns[random.integers(6)] + random.random((count, count)) ** 8 / 4 for _ in range(heads)]
        scores = np.stack(mixed) + 0.2 / count
        weights[layer] = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
    return weights


def make_receipt(random: np.random.Generator, trusted: bool) -> Receipt:
    """Curves that fall as fast as occlusion's, or no faster than random ones."""
    shares = np.linspace(0, 1, 21)

    def curves(speed: float) -> Curves:
        bend = np.exp(-speed * shares) + random.normal(0, 0.012, 21)
        deletion, insertion = 0.08 + 0.85 * bend.clip(0, 1), 0.93 - 0.85 * bend.clip(0, 1)
        return Curves(deletion, insertion, float(deletion.mean()), float(insertion.mean()))

    return Receipt(
        shares=shares,
        comprehensiveness=0.62 if trusted else 0.11,
        sufficiency=0.08 if trusted else 0.55,
        curves=curves(8 if trusted else 1.6),
        random=tuple(curves(random.uniform(1.1, 2.2)) for _ in range(10)),
        occlusion=curves(10),
        trusted=trusted,
        reason="deletion area 0.19 against 0.55 ± 0.05 of random orders" if trusted else "no better than random orders",
    )


def made_up(
    text: Text,
    labels: tuple[str, ...] = ("negative", "positive"),
    against: int | None = None,
    layers: int = 2,
    heads: int = 4,
    trusted: bool = True,
    watched: tuple[list[int], list[int]] | None = None,
) -> Explanation:
    """An explanation of the last label; watched are the layers and heads whose weights were kept."""
    random = np.random.default_rng(0)
    pieces = cut_into_pieces(text)
    probabilities = np.exp(np.linspace(-2.6, 0, len(labels)))
    attributions = []
    for method, seconds, good in (
        ("gradient_x_input", 0.012, False),
        ("integrated_gradients", 0.4, True),
        ("occlusion", 3.2, True),
    ):
        positions = random.standard_t(3, len(pieces.ids)) / 10
        words = pieces.by_word(positions)
        share = float(np.abs(positions[pieces.special]).sum() / np.abs(positions).sum())
        gap = 0.0021 if method == "integrated_gradients" else None
        receipt = make_receipt(random, good and trusted)
        attributions.append(Attribution(method, positions, words, share, seconds, gap, receipt))
    attention = make_attention(pieces, layers, heads, random)
    summaries = {name: random.random((layers, heads)) for name in ("previous", "first", "separator", "same_word")}
    summaries["entropy"] = random.random((layers, heads))
    kept_layers, kept_heads = watched or (list(range(layers)), list(range(heads)))
    rollout = random.random(len(pieces.ids))
    return Explanation(
        pieces=pieces,
        labels=labels,
        probabilities=probabilities / probabilities.sum(),
        question=Question(len(labels) - 1, against),
        attributions=tuple(attributions),
        chosen="integrated_gradients" if trusted else None,
        verdict="integrated gradients: clearly better than random orders (deletion area 0.19, random 0.55)"
        if trusted
        else "not trustworthy here: no method is clearly better than random orders",
        attention={layer: attention[layer][kept_heads] for layer in kept_layers},
        heads_watched=tuple(kept_heads),
        rollout=rollout / rollout.sum(),
        heads=summaries,
    )


FILM = "A fine film, warm and unexpectedly funny, though the ending drags on.\nI would not watch it twice."
PAIR = ("这部电影的情节虽然简单，但演员的表演非常打动人，值得一看。", "演员演得很好，故事并不复杂。")
LONG = " ".join(f"{FILM} Nothing in chapter {number} could surprise me." for number in range(18))


@pytest.fixture(scope="session")
def explanations() -> dict[str, Explanation]:
    """Of several kinds: an English text, a pair in Chinese, 512 tokens, texts that attack the page, and bare ones."""
    return {
        "english": made_up(FILM, layers=4, heads=6),
        "refused": made_up(FILM, trusted=False),
        "pair": made_up(PAIR, ("不相关", "相关", "部分相关"), against=0, layers=6, heads=12),
        "long": made_up(LONG, layers=6, heads=12),
        "hostile": made_up((HOSTILE, "好" + HOSTILE), (HOSTILE, f"{HOSTILE} yes"), against=0),
        "watched": made_up(FILM, layers=4, heads=6, watched=([1, 3], [2, 5])),
        "unwatched": made_up(FILM, watched=([], [])),
    }
