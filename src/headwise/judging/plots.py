"""Plots for a page: drawn by matplotlib, written as <svg> elements, legible on white and on near-black."""

import io
import re
from typing import Any

from markupsafe import Markup

BLUE, ORANGE, GREY = "#3b7dd8", "#e07b39", "#868e96"


def axes(across: str, up: str) -> Any:
    """Empty axes of a new figure with these names, and nothing but what is needed to read them."""
    from matplotlib.figure import Figure

    empty = Figure(figsize=(5, 3), layout="constrained").subplots()
    empty.spines[["top", "right"]].set_visible(False)
    empty.spines[["left", "bottom"]].set_color(GREY)
    empty.tick_params(colors=GREY, labelcolor=GREY)
    empty.grid(axis="y", color=GREY, alpha=0.2)
    empty.set_xlabel(across, color=GREY)
    empty.set_ylabel(up, color=GREY)
    return empty


def svg(drawn: Any) -> Markup:
    """The figure of these axes as an <svg> element: text stays text, nothing refers to the outside, always the same."""
    import matplotlib

    if drawn.get_legend_handles_labels()[0]:
        drawn.legend(frameon=False, labelcolor=GREY)
    target = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "headwise", "text.parse_math": False}):
        metadata = dict.fromkeys(["Creator", "Date", "Format", "Type"])
        drawn.figure.savefig(target, format="svg", transparent=True, metadata=metadata)
    written = target.getvalue()
    written = written[written.index("<svg") :]  # without the XML prologue, which HTML does not know
    return Markup(re.sub(r' id="[\w.]+_\d+"', "", written))  # numbered anew in every figure, and never referred to
