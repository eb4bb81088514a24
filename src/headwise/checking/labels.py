"""Labels: missing, spelled in two ways, rare, absent from a split, and two of them for one text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np

from headwise.checking.corpus import Corpus
from headwise.checking.findings import Finding, counted
from headwise.errors import excerpt, listing
from headwise.reading.batches import Rows

UNLABELLED, VARIANTS, TWO_LABELS = "no label", "one class spelled in several ways", "same text, two labels"
FEW = 10  # rows of a class below which it is hardly learnt
BETWEEN = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W\d_])|(?<=[^\W\d_])[\s_-]+(?=[^\W_])")  # letters, or letter and digit
FEW_JUDGED = 5  # rows of a class below which its score says little


def unlabelled(corpus: Corpus) -> list[Finding]:
    """Rows without a label, where each text has one; where there may be several, none is an answer too."""
    rows = () if corpus.multi_label else tuple(row for row, names in enumerate(corpus.labels) if not names)
    words = f"{counted(len(rows), 'row')} without a label"
    return [Finding(UNLABELLED, "error", words, "write one, or delete the row: --fix does", rows)] if rows else []


def spelling(corpus: Corpus) -> dict[str, str]:
    """The commonest spelling of each label, of those that differ only in case, blanks, hyphens and underscores."""
    times = Counter(name for names in corpus.labels for name in names)
    variants = defaultdict(list)
    for name, _ in times.most_common():
        variants[folded(name)].append(name)
    return {name: names[0] for names in variants.values() for name in names[1:]}


def folded(name: str) -> str:
    """A label without what people do not mean to tell classes apart by: -1 and A- stay, and so does 1-5."""
    return BETWEEN.sub("", unicodedata.normalize("NFKC", name).casefold().strip()) or name


def variants(corpus: Corpus, spelled: dict[str, str]) -> list[Finding]:
    """Classes that differ only by case or space, each with the rows of the rarer spellings."""
    found = []
    for usual in sorted(set(spelled.values())):
        others = {name for name, known in spelled.items() if known == usual}
        rows = tuple(row for row, names in enumerate(corpus.labels) if others & set(names))
        words = f"{excerpt(usual)} is also written {listing(sorted(others))} ({counted(len(rows), 'row')})"
        remedy = f"call them all {excerpt(usual)}: --fix does"
        about = tuple(listing(corpus.labels[row]) for row in rows)
        found.append(Finding(VARIANTS, "error", words, remedy, rows, about=about))
    return found


def classes(corpus: Corpus) -> list[Finding]:
    """Classes that a split lacks, or hardly has; or that there are so many that they are hardly classes."""
    if not corpus.classes:
        return []
    if corpus.numerous:
        words = f"{len(corpus.names):,} different ones in {len(corpus):,} rows: is this a column of labels?"
        return [Finding("too many classes", "error", words, "name another --label-column; labels were not looked at")]
    counts = np.stack([corpus.truth[corpus.part_of == part].sum(0) for part in range(len(corpus.parts))])  # [parts c]
    names, found = np.array(corpus.names, object), []
    if (counts[0] > 0).sum() < 2:
        words = f"train has no class but {listing(names[counts[0] > 0])}" if counts[0].any() else "train has no class"
        found.append(Finding("one class", "error", words, "add rows of another, or name another --label-column"))
    tiny = names[(counts[0] > 0) & (counts[0] < FEW)]
    if len(tiny):
        words = f"{len(tiny)} of {len(names)} have fewer than {FEW} rows of train: {listing(tiny)}"
        found.append(
            Finding("tiny classes", "warning", words, "add rows, or join classes; nothing is learnt from so few")
        )
    for part, count in zip(corpus.parts[1:], counts[1:], strict=True):
        unseen = (counts[0] == 0) & (count > 0)
        if unseen.any():
            rows = np.flatnonzero((corpus.truth & unseen).any(1) & (corpus.part_of == corpus.parts.index(part)))
            words = f"{part.name} has what train has not: {listing(names[unseen])} ({counted(len(rows), 'row')})"
            remedy = "add such rows to train, or take them out"
            found.append(Finding("unseen classes", "error", words, remedy, tuple(rows.tolist())))
        absent, few = names[(counts[0] > 0) & (count == 0)], names[(count > 0) & (count < FEW_JUDGED)]
        if len(absent):
            words = f"{part.name} has no row of {listing(absent)}"
            found.append(Finding("missing classes", "warning", words, "add some, or nobody knows how they fare"))
        if len(few):
            words = f"{len(few)} of {len(names)} have fewer than {FEW_JUDGED} rows of {part.name}: {listing(few)}"
            found.append(Finding("tiny classes", "note", words, "their own scores will say little"))
    return found


def contradictions(corpus: Corpus, rows: Rows) -> list[Finding]:
    """Texts that stand more than once, with different labels; case and blanks aside."""
    groups = defaultdict(list)
    for row in rows.tolist():
        groups[tuple(" ".join(side.casefold().split()) for side in corpus.sides(row))].append(row)
    odd = [group for group in groups.values() if len({corpus.labels[row] for row in group}) > 1]
    if not odd:
        return []
    pairs = [(row, group[0] if row != group[0] else group[1]) for group in odd for row in group]
    words = f"{counted(len(odd), 'text')} with more than one label ({counted(len(pairs), 'row')})"
    remedy = "settle each; --fix keeps what most of its rows say, and leaves the text out where none is in the majority"
    about = tuple(listing(corpus.labels[row]) or "no label" for row, _ in pairs)
    return [
        Finding(TWO_LABELS, "warning", words, remedy, tuple(row for row, _ in pairs), tuple(b for _, b in pairs), about)
    ]
