"""The figure of an explanation: a picture with whatever is in the text, with and without a Chinese font."""

import io
import warnings

import matplotlib.image
import numpy as np
import pytest

from headwise.insight import figure
from headwise.insight.figure import as_png, notes_of


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png), format="png")


@pytest.mark.parametrize("kind", ["english", "pair", "long", "hostile", "refused"])
def test_every_kind_is_drawn_without_a_missing_glyph(explanations, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = pixels(as_png(explanations[kind], dpi=60))
    assert picture.shape[1] == 420
    assert picture[..., :3].std() > 0.02
    assert np.all(picture[:, -2:, :3] == 1)  # nothing runs over the edge


@pytest.mark.parametrize("kind", ["pair", "hostile"])
def test_without_a_chinese_font_words_are_numbered_and_a_note_says_why(explanations, monkeypatch, kind):
    said = []
    monkeypatch.setattr(figure, "chinese_family", lambda: None)
    monkeypatch.setattr(figure, "notes_of", lambda *given: said.extend(notes_of(*given)) or said)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_png(explanations[kind], dpi=60)
    assert "fonts-noto-cjk" in said[-1]


def test_what_no_font_knows_is_replaced_and_what_is_long_is_shortened():
    glyphs = frozenset(map(ord, "afilm…"))
    assert figure.legible("film", "[3]", glyphs) == "film"
    assert figure.legible("演员", "[5]", glyphs) == "[5]"
    assert figure.legible("a" * 5000, "[1]", glyphs) == "a" * 39 + "…"
