"""Over many texts: which words drive a label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from headwise.errors import printable
from headwise.insight.explanation import Array
from headwise.insight.question import Pieces

DRAWS = 1000  # of the bootstrap
AT_ONCE = 1_000_000  # numbers drawn at a time, for memory's sake


@dataclass(frozen=True)
class DrivingWord:
    """One word over all texts, whatever its case. Above 0 it pushes towards the label, below 0 away from it."""

    word: str
    count: int  # how often it stands there
    texts: int  # in how many texts
    mean: float  # attribution each time
    low: float  # 95 % bootstrap interval of the mean, drawing texts
    high: float


@dataclass(frozen=True)
class DrivingWords:
    """Which words drive a label, from the most towards it to the most away from it."""

    label: str
    method: str
    texts: int
    words: tuple[DrivingWord, ...]
    least_texts: int
    left_out: int  # words that stand in fewer texts than that

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def as_text(self, most: int = 20) -> str:
        """A table of those whose interval leaves out 0: at most so many towards the label, and as many away."""
        sure = [one for one in self.words if one.low > 0 or one.high < 0]
        towards, away = [one for one in sure if one.mean > 0][:most], [one for one in sure if one.mean < 0][-most:]
        title = f"{printable(self.label)}: what drives {self.texts:,} texts, by {self.method}"
        lines = [title, "", f"{'attribution':>11}  {'95 % interval':^18} {'count':>7} {'texts':>7}  word"]
        for one in [*towards, *away]:
            interval = f"{one.low:+8.3f} {one.high:+8.3f}"
            lines.append(f"{one.mean:+11.3f}  {interval:^18} {one.count:>7,} {one.texts:>7,}  {printable(one.word)}")
        lines += ["(no word's interval leaves out 0)"] if not sure else []
        unsure = f"{len(self.words) - len(sure):,} words with 0 in their interval"
        return "\n".join([*lines, "", f"left out: {unsure}, {self.left_out:,} in fewer than {self.least_texts} texts"])


def driving_words(
    explained: Iterable[tuple[Pieces, Array]], label: str, method: str, *, least_texts: int = 5, seed: int = 0
) -> DrivingWords:
    """Gather the words of many texts, each with its attribution towards the label. (Pieces, [w]) of each text

    An interval says how far a word's mean moves with other texts like these; it is about one word, so of many
    words with no effect one in twenty leaves out 0 all the same.
    """
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)  # word -> (sum, count) in each of its texts
    texts = 0
    for pieces, scores in explained:
        texts += 1
        here: dict[str, list[float]] = defaultdict(list)
        for word, score in zip(pieces.words, scores.tolist(), strict=True):
            here[word.text.casefold()].append(score)
        for name, own in here.items():
            found[name].append((sum(own), len(own)))
    kept = {name: np.array(each) for name, each in found.items() if len(each) >= least_texts}
    words = [driving_word(name, kept[name], np.random.default_rng(seed)) for name in sorted(kept)]
    words.sort(key=lambda word: -word.mean)
    return DrivingWords(label, method, texts, tuple(words), least_texts, len(found) - len(kept))


def driving_word(word: str, each: Array, generator: np.random.Generator) -> DrivingWord:
    """From the (sum, count) of a word in each of its texts. [texts 2]"""
    means, step = [], max(1, AT_ONCE // len(each))
    for start in range(0, DRAWS, step):
        drawn = generator.integers(len(each), size=(min(step, DRAWS - start), len(each)))
        sums = each[drawn].sum(1)  # [draws 2]
        means.append(sums[:, 0] / sums[:, 1])
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    total, count = each.sum(0)
    return DrivingWord(word, int(count), len(each), float(total / count), float(low), float(high))
