"""Scores of answers that are pieces of a text, as SQuAD and CMRC count them, and what a report says of them."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import ClassVar

import numpy as np

from headwise.errors import InputError
from headwise.judging.baselines import CHINESE
from headwise.judging.intervals import Drawn, redrawn
from headwise.judging.metrics import NamedScores
from headwise.judging.sections import Column, Findings, Table, beginning

METRICS = {"f1": "F1", "exact_match": "exact match"}
"""The metrics a model can be chosen by, and how they are written for a reader."""

DROPPED = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")  # by CMRC's script
UNITS = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+(?:[.,'][^\W\u4e00-\u9fa5]+)*|[^\w\s]")
ASKING = ("为什么", "什么", "多少", "几", "谁", "哪", "何", "怎", "如何")  # words Chinese questions ask with


@dataclass(frozen=True)
class AnswerScores(NamedScores):
    """How one set of answers did: means over all rows of what the best of a row's right answers gives."""

    metrics: ClassVar[Mapping[str, str]] = METRICS

    f1: float
    exact_match: float
    rows: int


def score(right: Sequence[Sequence[str]], given: Sequence[str]) -> AnswerScores:
    """Score answers, empty where none is given, against the right ones, none where there is none. Raises InputError
    without rows."""
    if not len(given):
        raise InputError("there are no rows to score")
    exact, f1 = row_scores(right, given).mean(0).tolist()
    return AnswerScores(f1, exact, len(given))


def row_scores(right: Sequence[Sequence[str]], given: Sequence[str]) -> np.ndarray:
    """Exact match and F1 of each row. [rows 2]"""
    return np.array([one_row(*row) for row in zip(right, given, strict=True)], float).reshape(-1, 2)


def drawn(each: np.ndarray) -> Drawn:
    """Both in every draw of rows, from those of each row. [rows 2]"""
    names = ("exact_match", "f1")
    return Drawn(redrawn(lambda rows: dict(zip(names, each[rows].mean(0).tolist(), strict=True)), len(each)))


def one_row(right: Sequence[str], given: str) -> tuple[float, float]:
    """Exact match and F1 against the right answer that gives most: by CMRC's rules where there is Chinese, else by
    SQuAD's."""
    chinese = any(CHINESE.search(text) for text in (*right, given))
    known = [text for text in right if chinese or normal(text)] or [""]
    exact, f1 = (chinese_exact, chinese_f1) if chinese else (squad_exact, squad_f1)
    return max(exact(text, given) for text in known), max(f1(text, given) for text in known)


def normal(text: str) -> str:
    """Lower case without punctuation, articles and surplus blanks (Rajpurkar et al. 2016, arXiv:1606.05250, 6.1)."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def squad_exact(right: str, given: str) -> float:
    """Whether two answers are the same, normalised."""
    return float(normal(right) == normal(given))


def squad_f1(right: str, given: str) -> float:
    """F1 of two bags of words. Where one is empty: whether both are (Rajpurkar et al. 2018, arXiv:1806.03822)."""
    ours, theirs = normal(right).split(), normal(given).split()
    if not ours or not theirs:
        return float(ours == theirs)
    return ratio((Counter(ours) & Counter(theirs)).total(), len(ours), len(theirs))


def bare(text: str) -> str:
    """Lower case without the punctuation that CMRC's script drops (Cui et al. 2019, arXiv:1810.07366)."""
    return "".join(character for character in text.lower().strip() if character not in DROPPED)


def chinese_exact(right: str, given: str) -> float:
    """Whether two answers are the same but for punctuation."""
    return float(bare(right) == bare(given))


def chinese_f1(right: str, given: str) -> float:
    """F1 of the longest piece two answers share, in Chinese characters and words of other scripts."""
    ours, theirs = UNITS.findall(bare(right)), UNITS.findall(bare(given))
    shared = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match().size
    return ratio(shared, len(ours), len(theirs))


def ratio(shared: int, ours: int, theirs: int) -> float:
    """F1 of what two answers share."""
    return 2 * shared / (ours + theirs) if shared else 0.0


# The baseline


def likely_piece(question: str, context: str) -> tuple[int, int]:
    """Where an answer may stand, by words alone: the sentence that shares most with the question, and of it the
    longest stretch without words of the question.

    A word counts the more, the fewer sentences hold it.
    """
    asked = {match[0].lower() for match in UNITS.finditer(question)}
    sentences = [[*UNITS.finditer(context, *match.span())] for match in re.finditer(r"[^.!?。！？\n]+", context)]
    held = Counter(word for one in sentences for word in {match[0].lower() for match in one})
    shared = [sum(1 / held[word] for word in asked & {match[0].lower() for match in one}) for one in sentences]
    if not sentences:
        return 0, 0
    stretches: list[list[re.Match[str]]] = [[]]
    for match in sentences[int(np.argmax(shared))]:
        if match[0].lower() in asked or not match[0].isalnum():
            stretches.append([])
        else:
            stretches[-1].append(match)
    best = max(stretches, key=len)
    return (best[0].start(), best[-1].end()) if best else (0, 0)


# The report


def findings(
    questions: Sequence[str], right: Sequence[Sequence[str]], given: Sequence[str], confidence: np.ndarray
) -> Findings:
    """Scores by length of the answer and by what is asked, with and without an answer, and the worst mistakes."""
    scores = row_scores(right, given)
    tables = [
        grouped("By length of the answer", "words, or Chinese characters", [length(one) for one in right], scores),
        grouped("By question", "the word it asks with", [asking(one) for one in questions], scores),
    ]
    return Findings("", (*tables, mistakes(questions, right, given, confidence, scores)))


def as_text(right: Sequence[Sequence[str]], given: Sequence[str]) -> str:
    """The scores by length of the answer, for the terminal."""
    table = grouped("", "answer", [length(one) for one in right], row_scores(right, given))
    lines = [f"{'length':>12}  {'rows':>7}  {'F1':>6}  {'exact':>6}"]
    lines += [f"{name:>12}  {rows:>7,}  {f1:6.3f}  {exact:6.3f}" for name, f1, exact, rows in table.rows]
    return "\n".join(lines)


def length(right: Sequence[str]) -> str:
    """How long the shortest right answer is, in classes of like size."""
    if not right:
        return "no answer"
    units = min(len(UNITS.findall(text)) for text in right)
    return next((name for most, name in ((1, "1"), (2, "2"), (5, "3 to 5"), (10, "6 to 10")) if units <= most), "more")


def asking(question: str) -> str:
    """The word a question asks with: of a Chinese one the first of the usual, of others the first word."""
    if CHINESE.search(question):
        found = [(question.find(word), -len(word), word) for word in ASKING if word in question]
        return min(found)[2] if found else "(another)"
    words = UNITS.findall(question.lower())
    return words[0] if words else "(another)"


def grouped(title: str, name: str, groups: Sequence[str], scores: np.ndarray) -> Table:
    """Scores of the ten largest groups of rows, the largest first."""
    head = (Column(name, "label"), Column("F1", "bar"), Column("exact match", "bar"), Column("rows"))
    rows = []
    for group, count in Counter(groups).most_common(10):
        exact, f1 = scores[np.array([one == group for one in groups])].mean(0).tolist()
        rows.append((group, f1, exact, count))
    return Table(title, "The largest groups first.", head, tuple(rows))


def mistakes(
    questions: Sequence[str],
    right: Sequence[Sequence[str]],
    given: Sequence[str],
    confidence: np.ndarray,
    scores: np.ndarray,
) -> Table:
    """The 30 answers that share least with the right ones, of these the surest first."""
    head = (Column("question", "text"), Column("right", "text"), Column("given", "text"), Column("F1"), Column("score"))
    wrong = np.flatnonzero(scores[:, 0] == 0)
    shown = wrong[np.lexsort((-confidence[wrong], scores[wrong, 1]))][:30]
    said: Callable[[str], str] = lambda text: beginning(text) or "(none)"  # noqa: E731
    rows = [
        (
            beginning(questions[row]),
            said(" | ".join(dict.fromkeys(right[row]))),
            said(given[row]),
            float(scores[row, 1]),
            float(confidence[row]),
        )
        for row in shown
    ]
    hint = f"Rows without an exact match: {len(wrong):,}; here those that share least with the truth, the surest first."
    return Table("Worst mistakes", hint if rows else "None: every row is right.", head, tuple(rows))
