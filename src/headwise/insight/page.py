"""The page of one explanation: everything is inside it, nothing is loaded, and whatever a text holds stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from headwise.errors import printable
from headwise.insight.explanation import Array, Explanation
from headwise.insight.question import Pieces, Word

MOST_EDGES = 1_000_000  # of attention in one page, at 3 bytes each, which base64 makes 4
SCRIPTS = ("page.js", "page.heads.js")  # one after the other, as one script


def as_html(explanation: Explanation) -> str:
    """The explanation as one page for a browser, in English and Chinese."""
    style, script = own("page.css"), "".join(map(own, SCRIPTS))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headwise.insight", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        style_hash=sha256(style),
        script_hash=sha256(script),
        data=as_script_data({"explanation": as_data(explanation), "languages": json.loads(own("page.languages.json"))}),
    )


def own(name: str) -> str:
    """A file that lies beside this one."""
    return files("headwise.insight").joinpath(name).read_text(encoding="utf-8")


def sha256(code: str) -> str:
    """How a content security policy names the one script, or the one style, that it lets pass."""
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def as_script_data(value: Any) -> Markup:
    """JSON that nothing inside it can end: pure ASCII, without <, > and &."""
    written = json.dumps(clean(value), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)


def clean(value: Any) -> Any:
    """The same with five digits of each number, nothing for NaN and infinity, and no control characters in texts."""
    if isinstance(value, dict):
        return {name: clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [clean(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return "\n".join(map(printable, value.split("\n"))) if isinstance(value, str) else value


def as_data(explanation: Explanation) -> dict[str, Any]:
    """What the page's script reads: the explanation's JSON, the texts cut into words, the edges of attention."""
    question = explanation.question
    return explanation.as_dict() | {
        "texts": cut_at_words(explanation.pieces),
        "asked": question.label,
        "other": question.against,
        "attention": edges(explanation) if explanation.attention and explanation.heads_watched else None,
    }


def cut_at_words(pieces: Pieces) -> list[list[tuple[str, int]]]:
    """Each text as its words and what lies between them, in order: the characters and the word's number, or -1."""
    texts = [pieces.text] if isinstance(pieces.text, str) else pieces.text
    numbered = list(enumerate(pieces.words))
    return [cut(text, (pair for pair in numbered if pair[1].side == side)) for side, text in enumerate(texts)]


def cut(text: str, words: Iterable[tuple[int, Word]]) -> list[tuple[str, int]]:
    """One text as its numbered words and what lies between them."""
    parts, at = [], 0
    for number, word in sorted(words, key=lambda pair: pair[1].start):
        parts += [(text[at : word.start], -1), (text[word.start : word.end], number)]
        at = word.end
    return [(characters, number) for characters, number in [*parts, (text[at:], -1)] if characters]


def edges(explanation: Explanation) -> dict[str, Any]:
    """The attention of the layers and heads watched, of each token its strongest edges as far as MOST_EDGES goes."""
    layers = sorted(explanation.attention)
    heads, tokens, _ = explanation.attention[layers[0]].shape
    per_token = min(tokens, max(1, MOST_EDGES // (len(layers) * heads * tokens)))
    packed = [strongest(explanation.attention[layer], per_token) for layer in layers]
    return {
        "layers": layers,
        "heads": list(explanation.heads_watched),
        "per_token": per_token,
        "kept": float(np.mean([kept for _, kept in packed])),
        "edges": [written for written, _ in packed],
    }


def strongest(weights: Array, per_token: int) -> tuple[str, float]:
    """The strongest edges of each token as base64, and the share of all attention that they hold. [h t t]

    First where each leads, in two bytes, then how strong it is, in one: the root of the weight, so that the small
    weights of long texts are told apart.
    """
    targets = np.argsort(-weights, axis=-1, kind="stable")[..., :per_token]  # [h t k]
    held = np.take_along_axis(weights, targets, -1)
    roots = np.rint(255 * np.sqrt(held.clip(0, 1)))
    written = targets.astype("<u2").tobytes() + roots.astype(np.uint8).tobytes()
    return base64.b64encode(written).decode(), float(held.sum() / weights.sum())
