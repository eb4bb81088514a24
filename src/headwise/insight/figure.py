"""The figure of one explanation, for papers and slides: the text as a heat map, and the curves of its receipt."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from headwise.errors import printable
from headwise.insight.explanation import Array, Attribution, Explanation, Receipt
from headwise.insight.page import cut_at_words
from headwise.judging.plots import BLUE, GREY, ORANGE

CHINESE = (  # families that know Chinese, as they are called on Linux, macOS and Windows
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Noto Sans CJK JP",  # how matplotlib calls the whole Noto Sans CJK
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti TC",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)
FILES = ("notosanscjk-regular", "notosanssc", "sourcehansanssc", "wqy-", "pingfang", "msyh", "simhei")  # of those
MOST_WORDS = 1000
WIDTH, LINE, SIZE = 7.0, 0.28, 11  # of the figure and of a line of text in inches, of its letters in points


@dataclass(frozen=True)
class Placed:
    """A word, or what lies between two, on the page: line counts downwards, x and width are inches."""

    characters: str
    word: int  # -1 between words
    line: int
    x: float
    width: float


def as_png(explanation: Explanation, dpi: int = 200) -> bytes:
    """The words coloured by the method chosen (by the first tried where none is trusted), and its receipt."""
    family = chinese_family()
    fonts = ["DejaVu Sans", *([family] if family else [])]  # the first comes with matplotlib
    charmaps = [font_manager.get_font(font_manager.findfont(font)).get_charmap() for font in fonts]
    with matplotlib.rc_context({"font.family": fonts, "text.parse_math": False, "font.size": 9}):
        return drawn(explanation, frozenset[int]().union(*charmaps), dpi)


def chinese_family() -> str | None:
    """A font of this machine that knows Chinese, one that was installed since matplotlib last looked included."""
    known = set(font_manager.get_font_names())
    for file in () if known & set(CHINESE) else map(Path, font_manager.findSystemFonts()):
        if file.name.lower().startswith(FILES):
            font_manager.fontManager.addfont(file)
            known.add(font_manager.fontManager.ttflist[-1].name)
    return next((family for family in CHINESE if family in known), None)


def drawn(explanation: Explanation, glyphs: frozenset[int], dpi: int) -> bytes:
    """The whole figure as PNG; glyphs are the characters that can be drawn."""
    tried = explanation.attributions
    shown = next((one for one in tried if one.method == explanation.chosen), tried[0])
    figure = Figure(dpi=dpi)
    FigureCanvasAgg(figure)  # which measures the words
    placed = list(laid_out(explanation, figure, glyphs))
    text = LINE * (max((one.line for one in placed), default=0) + 1)
    notes = notes_of(explanation, shown, glyphs)
    above, between, below = 0.75, 0.3 + 0.18 * len(notes), 2.5 if shown.receipt else 0.1
    height = above + text + between + below
    figure.set_size_inches(WIDTH, height)
    head(explanation, figure, height, glyphs)
    write_text(figure, placed, shown.words, height, height - above)
    for row, note in enumerate(notes):
        figure.text(0.2 / WIDTH, (below + between - 0.25 - 0.18 * row) / height, note, color=GREY, fontsize=7.5)
    if shown.receipt:
        for place, kind in enumerate(("deletion", "insertion")):
            box = (0.09 + 0.48 * place, 0.5 / height, 0.4, (below - 0.75) / height)
            plot(figure.add_axes(box), shown.receipt, kind, shown.method)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return target.getvalue()


def laid_out(explanation: Explanation, figure: Figure, glyphs: frozenset[int]) -> Iterator[Placed]:
    """The texts as lines of at most WIDTH, each text on a line of its own; at most MOST_WORDS words of them."""
    line, x, most = 0, 0.0, WIDTH - 0.4
    for text in cut_at_words(explanation.pieces):
        for characters, word in text:
            if word >= MOST_WORDS:
                break
            for part in [characters] if word >= 0 else characters.splitlines(keepends=True):
                written = legible(part, f"[{word + 1}]" if word >= 0 else " ", glyphs)
                if x + breadth(figure, written.rstrip()) > most:
                    line, x = line + 1, 0.0
                if x or written.strip():
                    width = breadth(figure, written)
                    yield Placed(written, word, line, x, width)
                    x += width
                if part.endswith("\n"):
                    line, x = line + 1, 0.0
        line, x = line + 1, 0.0


def legible(characters: str, instead: str, glyphs: frozenset[int], most: int = 40) -> str:
    """The characters, shortened to the most; or what is to stand instead where a glyph of them is missing."""
    shown = printable(characters if len(characters) <= most else characters[: most - 1] + "…")
    return shown if glyphs.issuperset(map(ord, shown)) else instead


def breadth(figure: Figure, written: str) -> float:
    """How wide the characters are, in inches."""
    text = figure.text(0, 0, f"|{written}|", fontsize=SIZE)  # a blank at an end has no width of its own
    bars = figure.text(0, 0, "||", fontsize=SIZE)
    width = text.get_window_extent().width - bars.get_window_extent().width
    text.remove()
    bars.remove()
    return float(width / figure.dpi)


def head(explanation: Explanation, figure: Figure, height: float, glyphs: frozenset[int]) -> None:
    """The answer, and what is asked about it."""
    names = [legible(label, f"label {at}", glyphs, most=30) for at, label in enumerate(explanation.labels)]
    best, question = int(explanation.probabilities.argmax()), explanation.question
    why = f"Why “{names[question.label]}”"
    why += "?" if question.against is None else f" and not “{names[question.against]}”?"
    why += f"  At the word “{legible(explanation.about, '□', glyphs, most=30)}”." if explanation.about else ""
    answer = f"{names[best]}  {explanation.probabilities[best]:.3f}"
    figure.text(0.2 / WIDTH, 1 - 0.34 / height, answer, fontsize=14)
    figure.text(0.2 / WIDTH, 1 - 0.58 / height, why, color=GREY)


def write_text(figure: Figure, placed: list[Placed], words: Array, height: float, top: float) -> None:
    """The words on their colours: blue towards the answer, orange and underlined with dashes against it."""
    most = float(np.abs(words).max(initial=1e-12))
    axes = figure.add_axes((0, 0, 1, 1), zorder=-1)
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    for one in placed:
        x, y = 0.2 + one.x, top - LINE * (one.line + 1)
        if one.word >= 0:
            heat = float(words[one.word]) / most
            color = BLUE if heat >= 0 else ORANGE
            axes.fill_between([x, x + one.width], y, y + 0.22, color=to_rgba(color, 0.65 * abs(heat)), linewidth=0)
            style: Any = "-" if heat >= 0 else (0, (2, 1))
            axes.plot([x, x + one.width], [y, y], color=to_rgba(color, abs(heat)), linestyle=style, linewidth=1.2)
        axes.text(x, y + 0.065, one.characters, fontsize=SIZE, color="black" if one.word >= 0 else GREY)


def notes_of(explanation: Explanation, shown: Attribution, glyphs: frozenset[int]) -> list[str]:
    """What a reader has to know about the picture, a line each."""
    colors = f"{shown.method.replace('_', ' ')}: blue towards, orange (dashed) against"
    notes = [f"{colors}; {shown.special_share:.1%} on special tokens", printable(explanation.verdict)]
    if len(explanation.pieces.words) > MOST_WORDS:
        notes.append(f"the first {MOST_WORDS:,} of {len(explanation.pieces.words):,} words")
    texts = "".join([*explanation.labels, *explanation.pieces.text])
    if not glyphs.issuperset(map(ord, printable(texts))):
        notes.append("Numbers in brackets are words that no font here can write; for Chinese, install fonts-noto-cjk.")
    return [legible(note, "□", glyphs, 130) for note in notes]


def plot(axes: Any, receipt: Receipt, kind: str, method: str) -> None:
    """The method's curve beside occlusion's and those of the random orders."""
    random = [getattr(one, kind) for one in receipt.random]
    if random:
        axes.fill_between(receipt.shares, np.min(random, 0), np.max(random, 0), color=GREY, alpha=0.22, linewidth=0)
        axes.plot(receipt.shares, np.mean(random, 0), color=GREY, linewidth=1, label="random orders")
    axes.plot(receipt.shares, getattr(receipt.occlusion, kind), color=ORANGE, linestyle="--", label="occlusion")
    axes.plot(receipt.shares, getattr(receipt.curves, kind), color=BLUE, linewidth=2, label=method.replace("_", " "))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY, labelsize=7.5)
    axes.grid(axis="y", color=GREY, alpha=0.2)
    axes.set_title(f"{kind}, area {getattr(receipt.curves, kind + '_area'):.2f}", fontsize=9, loc="left")
    axes.set_xlabel("share of words taken away" if kind == "deletion" else "share of words put back", color=GREY)
    if kind == "deletion":
        axes.legend(frameon=False, fontsize=7.5, labelcolor=GREY)
