"""Markers that leak the label: a word, beginning or end in nearly all rows of one class and nearly none of others."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from headwise.checking.corpus import Corpus
from headwise.checking.findings import Finding
from headwise.errors import excerpt
from headwise.judging.baselines import CHINESE, joined
from headwise.reading.batches import Rows

MARKER, OWN_WORDS = "marker of a class", "classes with a word of their own"
REMEDY = "if it will not be there when the model is used, take it out of the texts: it gives the label away"
NARROW = 20  # of more classes each is so narrow that a word of its own is no surprise
NEARLY_ALL, NEARLY_NONE = 0.9, 0.01  # of the rows of a class, and of the others
FEWEST = 20  # rows of a class that can show a marker
SEEN = 2_000  # characters of a text that are looked at, from its beginning and from its end
TOKEN = re.compile(rf"{CHINESE.pattern}|\d+|[^\W\d_]+|[^\w\s]|_")


def markers(corpus: Corpus, rows: Rows) -> list[Finding]:
    """For each class the marker that most of its rows bear, if any."""
    if len(corpus.names) < 2 or corpus.numerous or not len(rows):
        return []
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(analyzer=marks, binary=True, min_df=min(FEWEST, len(rows)))
    try:
        borne: Any = vectorizer.fit_transform([joined(corpus.texts[row]) for row in rows.tolist()])  # [rows marks]
    except ValueError:  # no mark is borne by so many
        return []
    truth, names = corpus.truth[rows], vectorizer.get_feature_names_out()
    with_mark = np.asarray(borne.T @ truth.astype(np.int64))  # [marks c]
    sizes, every = truth.sum(0), np.asarray(borne.sum(0)).reshape(-1, 1)
    inside = with_mark / np.maximum(sizes, 1)
    outside = (every - with_mark) / np.maximum(len(rows) - sizes, 1)
    telling = (inside >= NEARLY_ALL) & (outside <= NEARLY_NONE) & (sizes >= FEWEST)
    found, own = [], {}
    for number in np.flatnonzero(telling.any(0)):
        ahead = np.where(telling[:, number], inside[:, number] - outside[:, number], -1)
        best = max(np.flatnonzero(ahead >= ahead.max() - 0.01), key=lambda at: (names[at][0] != "w", len(names[at])))
        bearing = rows[np.flatnonzero(np.asarray(borne[:, [best]].todense()).ravel() & truth[:, number])]
        words = (
            f"{names[best]} in {inside[best, number]:.1%} of the rows of {excerpt(corpus.names[number])}, "
            f"in {outside[best, number]:.1%} of the others"
        )
        if names[best].startswith("word") and len(corpus.names) > NARROW:
            own[int(bearing[0])] = words
        else:
            found.append(Finding(MARKER, "warning", words, REMEDY, tuple(bearing.tolist())))
    if own:
        words = f"{len(own)} of {len(corpus.names)} have a word that stands in nearly all of their rows and no others"
        found.append(Finding(OWN_WORDS, "note", words, REMEDY, (*own,), about=(*own.values(),)))
    return found


def marks(text: str) -> set[str]:
    """What could give a text away, in words: the words in it, how it begins and how it ends. Digits are all one."""
    begins, ends = TOKEN.findall(text[:SEEN]), TOKEN.findall(text[-SEEN:])
    found = {f"word {shape([token])}" for token in begins}
    for size in (1, 2, 3):
        found |= {f"beginning {shape(begins[:size])}", f"end {shape(ends[-size:])}"}
    return found


def shape(tokens: list[str]) -> str:
    """Tokens as they are quoted, a 0 for every number."""
    return excerpt(" ".join(re.sub(r"\d+", "0", token) for token in tokens))
