"""An explanation in the terminal: the text with its words coloured, the words that mattered most, the receipt."""

from __future__ import annotations

import math

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text as Line

from headwise.errors import printable
from headwise.insight.explanation import Array, Explanation

TOWARDS, AGAINST = np.array([0, 90, 181]), np.array([220, 110, 0])  # blue and orange: told apart by all eyes
FAINT = 0.1  # of the strongest; below it a word is not coloured
MOST_WORDS = 8  # in the table


def show(explanation: Explanation, console: Console | None = None) -> None:
    """Print it; without colours where the output takes none."""
    console = console or Console(highlight=False, soft_wrap=True)
    shown, question = explanation.shown, explanation.question
    asked, chance = explanation.labels[question.label], explanation.probabilities[question.label]
    rival = "" if question.against is None else f" and not {explanation.labels[question.against]}"
    place = f" at the word {explanation.about}" if explanation.about else ""
    console.print(Line(printable(f"why {asked}{rival}{place}? its {explanation.measure} is {chance:.3f}")))
    for line in coloured(explanation, shown.words):
        console.print(line)
    console.print(strongest(explanation, shown.words))
    console.print(
        Line(
            f"{shown.method}: blue, above 0: towards it; orange, below 0: against it; "
            f"{shown.special_share:.1%} of it fell on special tokens" + gap(shown.gap)
        )
    )
    if shown.receipt is not None:
        proof = shown.receipt
        random = np.mean([curves.deletion_area for curves in proof.random])
        console.print(
            Line(
                f"without the most important words {proof.comprehensiveness:.3f} of the {explanation.measure} is lost, "
                f"with only those {proof.sufficiency:.3f}; area under deletion {proof.curves.deletion_area:.3f}, "
                f"of random orders {random:.3f}, of occlusion {proof.occlusion.deletion_area:.3f}"
            )
        )
    console.print(Line(printable(explanation.verdict), style="" if explanation.chosen else "bold"))


def gap(size: float | None) -> str:
    """What integrated gradients miss, for people."""
    return "" if size is None else f"; {size:.3g} of what was asked not accounted for"


def coloured(explanation: Explanation, words: Array) -> list[Line]:
    """Each text with its words coloured. words [w]"""
    text = explanation.pieces.text
    lines = [Line(printable(side)) for side in ([text] if isinstance(text, str) else text)]
    largest = max(np.abs(words).max(), np.finfo(float).tiny)
    for word, share in zip(explanation.pieces.words, words / largest, strict=True):
        if abs(share) >= FAINT:
            lines[word.side].stylize(style(float(share)), word.start, word.end)
    return lines


def style(share: float) -> str:
    """The ground of a word, from white to blue (1) or orange (-1), and letters that stand out from it."""
    ground = 255 + abs(share) * ((TOWARDS if share > 0 else AGAINST) - 255)
    red, green, blue = ground.astype(int)
    return f"{'white' if abs(share) > 0.6 else 'black'} on rgb({red},{green},{blue})"


def strongest(explanation: Explanation, words: Array) -> Table:
    """The words that mattered most, with their numbers."""
    every = explanation.pieces.words
    sides = [word.side for word in every]
    table = Table("word", "place", "towards", box=None, pad_edge=False)
    largest = float(np.abs(words).max())
    digits = max(3, 2 - math.floor(math.log10(largest))) if 0 < largest < math.inf else 3  # of vectors all are small
    for number in np.argsort(-np.abs(words), kind="stable")[:MOST_WORDS]:
        word = every[number]
        place = f"word {number + 1 - sides.index(word.side)}" + (f" of text {word.side + 1}" if any(sides) else "")
        table.add_row(Line(printable(word.text)), place, f"{words[number]:+.{digits}f}")
    return table
