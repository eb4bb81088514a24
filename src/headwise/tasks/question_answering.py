"""Question answering: the answer to a question is a piece of its context, or there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from headwise.errors import InputError
from headwise.families.family import Purpose
from headwise.judging import answers as judging
from headwise.judging.answers import METRICS, AnswerScores
from headwise.judging.fitted import Fitted, outcomes, with_outcomes
from headwise.judging.intervals import Drawn
from headwise.judging.sections import Findings
from headwise.reading.answers import Answer, read_answers, remarks
from headwise.reading.batches import Batch, Examples, Rows
from headwise.reading.columns import Columns
from headwise.reading.contexts import Windows, in_windows
from headwise.reading.records import Records
from headwise.reading.text import Text, Texts, TextTokenizer
from headwise.reading.words import ATTACHED
from headwise.tasks.task import Array, Task

LONGEST = 30  # tokens of an answer at most, unless the validation rows have longer ones
ANSWERS = {"answers", "answer", "答案", "回答"}
CONTEXTS = {"context", "passage", "paragraph", "文章", "段落", "上下文", "篇章"}


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """Two numbers at every token: how well an answer would begin, and end, there (Devlin et al. 2019, section 4.2).

    Truth and answers are tuples of Answer [b]: empty where a question has none; of the truth, all that count as right.
    A context longer than the model is read in windows, each a row of its own when training.

    threshold: no answer is given where none is better than the best piece of the context by more than this; None: a
    piece is always given.
    """

    name: ClassVar[str] = "question-answering"
    purpose: ClassVar[Purpose] = "ForQuestionAnswering"
    metrics: ClassVar[Mapping[str, str]] = METRICS

    labels: tuple[str, ...] = ("start", "end")
    threshold: float | None = None
    longest: int = LONGEST
    unanswered: int = 0  # questions of the training table that have no answer
    fitted: Fitted = Fitted()

    @classmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """A question, a context and its answers, by name."""
        return (columns.label or "").casefold() in ANSWERS and (columns.pair or "").casefold() in CONTEXTS

    @classmethod
    def of_table(
        cls, records: Records, columns: Columns, separator: str | None = None, known: Sequence[str] = ()
    ) -> QuestionAnswering:
        """Whether there are questions without an answer, to be learned too."""
        answered = [bool(found) for found in read_answers(records, paired(records, columns))]
        if not any(answered):
            raise InputError(
                f"{records.path}: column {columns.target} holds no answer at all; choose another with --label-column"
            )
        labels = tuple(known) if len(known) == 2 else cls.labels
        return cls(labels, None if all(answered) else 0.0, unanswered=answered.count(False))

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> QuestionAnswering:
        """A model that always gives an answer."""
        return cls(labels)

    @property
    def settings(self) -> dict[str, Any]:
        """When there is no answer, how long one can be, and when the model had better not say."""
        return {"threshold": self.threshold, "longest": self.longest, "rule": self.fitted.as_dict()["rule"]}

    def restored(self, settings: Mapping[str, Any]) -> QuestionAnswering:
        """With what was tuned. Raises InputError where a setting is odd."""
        threshold, longest = settings.get("threshold"), settings.get("longest", LONGEST)
        if not isinstance(threshold, float | int | None) or not isinstance(longest, int) or longest < 1:
            raise InputError(f"threshold is {threshold!r} and longest {longest!r}, expected two numbers")
        return replace(self, threshold=threshold, longest=longest, fitted=Fitted.of({"rule": settings.get("rule")}))

    @property
    def metric(self) -> str:
        """What early stopping watches unless told otherwise."""
        return "f1"

    @property
    def kind(self) -> str:
        """A few words about it for the notes."""
        return f"answers are pieces of the context, {self.unanswered:,} questions have none"

    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """The answers, found in their contexts. [b] Raises InputError where one is not there."""
        return read_answers(records, paired(records, columns))

    def remarks(self, records: Records, columns: Columns) -> list[str]:
        """What had to be looked for, or mended."""
        return [f"{records.path}: {said}" for said in remarks(self.truth(records, columns))]

    def kin(self, texts: Texts) -> tuple[pa.ChunkedArray, str]:
        """Contexts: what a model learned of one would help it with the other questions on it."""
        return texts.second, ", no context in two parts"

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """Windows, and where in each its answer begins and ends."""
        tokens, layout = in_windows(tokenizer, texts)
        targets = None if truth is None else places(tokens.starts, layout, [chosen(answers) for answers in truth])
        return Examples(tokens, targets, truth, layout=layout, origin=layout.row)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy over a window's tokens, the mean of where an answer begins and ends. [n 2] -> [w]"""
        assert batch.targets is not None
        padded = pad_sequence(list(batch.ids.with_data(outputs).unpack()), True, -float("inf"))  # [w t 2]
        return F.cross_entropy(padded, batch.targets, reduction="none").mean(1)

    def tuned(self, valid: Examples, outputs: Tensor) -> QuestionAnswering:
        """With room for the longest answer of the validation rows, and, where some have none, the threshold that
        gives the best F1."""
        longest = max(LONGEST, int((valid.targets[:, 1] - valid.targets[:, 0]).max()) + 1)
        task = replace(self, longest=longest)
        if self.threshold is None or all(valid.truth):
            return task
        best = best_pieces(valid, outputs, longest)
        given = judging.row_scores(texts_of(valid.truth), [answer.text for answer in best.answers])[:, 1]
        gain = given - np.array([not answers for answers in valid.truth])  # of giving the piece, over giving none
        return replace(task, threshold=best_threshold(best.none - best.score, gain))

    def decided(
        self, examples: Examples, outputs: Tensor, most_error: float | None, false_alarms: float | None
    ) -> QuestionAnswering:
        """With a rule for when to answer. An answer is wrong where it is no exact match, and none where there is one.

        Raises InputError where nothing can be promised, and for a scope.
        """
        if false_alarms is not None:
            raise InputError("a question is answered from its context, whatever it is about; leave out --false-alarms")
        fitted = self.fitted.decided(self.answered(examples, outputs)[1], self.wrong(examples, outputs), most_error)
        return replace(self, fitted=fitted)

    def wrong(self, examples: Examples, outputs: Tensor) -> Array:
        """Whether what is given is no exact match. [b]"""
        given = first_texts(self.decide(examples, outputs))
        return np.asarray(judging.row_scores(texts_of(examples.truth), given)[:, 0] < 1)

    def answered(self, examples: Examples, outputs: Tensor) -> tuple[list[Answer | None], Array]:
        """The answer to each question, or None, and how sure it is of that. [b]"""
        best = best_pieces(examples, outputs, self.longest, self.threshold is not None)
        none = np.isneginf(best.score)
        if self.threshold is not None:
            none |= best.none - best.score > self.threshold
        answers = [None if silent else answer for silent, answer in zip(none, best.answers, strict=True)]
        with np.errstate(invalid="ignore"):
            sure = np.exp(np.where(none, best.none, best.score) - best.total)
        return answers, np.where(np.isneginf(best.total), 1.0, sure)  # a context of nothing: no answer, for sure

    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        """The answers as tuples of one, or of none. [b]"""
        return column_of([() if answer is None else (answer,) for answer in self.answered(examples, outputs)[0]])

    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """{"answer", "start", "end", "score"}: characters start to end of the context; "", 0, 0 where it has none.

        Where it was decided when to answer, "abstains" says why what is given is kept back: "", 0, 0 stand then.
        """
        answers, sure = self.answered(examples, outputs)
        reasons = self.fitted.abstains(sure)
        given = [None if reason else answer for answer, reason in zip(answers, reasons, strict=True)]
        found = [
            {
                "answer": answer.text if answer else "",
                "start": answer.start if answer else 0,
                "end": answer.end if answer else 0,
                "score": float(how_sure),
            }
            for answer, how_sure in zip(given, sure, strict=True)
        ]
        if self.fitted.always_answers:
            return found
        return [one | {"abstains": reason or None} for one, reason in zip(found, reasons, strict=True)]

    def scored(self, truth: Array, answers: Array) -> AnswerScores:
        """Exact match and F1."""
        return judging.score(texts_of(truth), first_texts(answers))

    def drawn(self, truth: Array, *answers: Array) -> tuple[Drawn, ...]:
        """By drawing rows that are scored once: exact match and F1 are means over them."""
        return tuple(judging.drawn(judging.row_scores(texts_of(truth), first_texts(these))) for these in answers)

    def baselines(
        self, train: Sequence[Text], truth: Array, texts: Sequence[Text], seed: int
    ) -> dict[str, Callable[[], Array]]:
        """A piece of the sentence most like the question."""

        def guess() -> Array:
            spans = [judging.likely_piece(*pair) for pair in texts]
            found = [Answer(pair[1][slice(*span)], span[0]) for pair, span in zip(texts, spans, strict=True)]
            return column_of([(answer,) for answer in found])

        return {"sentence most like the question": guess}

    def findings(self, texts: Sequence[Text], examples: Examples, outputs: Tensor) -> Findings:
        """Scores by length and by question, and mistakes."""
        answers, sure = self.answered(examples, outputs)
        given = ["" if answer is None else answer.text for answer in answers]
        found = judging.findings([pair[0] for pair in texts], texts_of(examples.truth), given, sure)
        if self.fitted.always_answers:
            return found
        became = outcomes(self.fitted.abstains(sure), self.wrong(examples, outputs))
        return with_outcomes(found, became, self.fitted)

    def breakdown(self, truth: Array, answers: Array) -> str:
        """Scores by length of the answer."""
        return judging.as_text(texts_of(truth), first_texts(answers))


def paired(records: Records, columns: Columns) -> Columns:
    """The columns. Raises InputError where there is none for contexts."""
    if columns.pair is None:
        raise InputError(
            f"{records.path}: no column of contexts; name it with --pair-column, the questions' with --text-column"
        )
    return columns


def chosen(answers: Sequence[Answer]) -> Answer | None:
    """Of several right answers the one to learn: the commonest that is in the context, of equals the first."""
    there = [answer for answer in answers if answer.start >= 0]
    return max(there, key=there.count) if there else None


def texts_of(truth: Array) -> list[list[str]]:
    """The texts of right answers."""
    return [[answer.text for answer in answers] for answers in truth]


def first_texts(answers: Array) -> list[str]:
    """The texts of given answers, empty where there is none."""
    return [given[0].text if given else "" for given in answers]


def column_of(rows: Sequence[tuple[Answer, ...]]) -> Array:
    """An array of tuples, which numpy would rather make a matrix of. [b]"""
    return np.fromiter(rows, object, len(rows))


def places(starts: Rows, layout: Windows, answers: Sequence[Answer | None]) -> Array:
    """The tokens of each window at which its answer begins and ends, counted from the window's first. [w 2]

    Both 0, the first position, where there is no answer, or it is not wholly in this window.
    """
    found = np.zeros((len(layout.row), 2), np.int64)
    for window, (row, first) in enumerate(zip(layout.row, starts, strict=True)):
        answer = answers[row]
        last = starts[window + 1] if window + 1 < len(starts) else len(layout.spans)
        inside = first + np.flatnonzero(layout.spans[first:last, 0] >= 0)
        if answer is None or not len(inside):
            continue
        begins, ends = layout.spans[inside].T
        cut_left = window > 0 and layout.row[window - 1] == row and begins[0] > answer.start
        cut_right = window + 1 < len(starts) and layout.row[window + 1] == row and ends[-1] < answer.end
        one = int(np.searchsorted(ends, answer.start, "right"))
        other = int(np.searchsorted(begins, answer.end, "left")) - 1
        if one <= other and not cut_left and not cut_right:
            found[window] = inside[[one, other]] - first
    return found


@dataclass(frozen=True, eq=False)
class BestPieces:
    """The best piece of each of b contexts, and how it compares with none."""

    answers: list[Answer]
    score: Array  # [b] of its beginning and its end
    none: Array  # [b] the same of the first position, in the window where it is lowest
    total: Array  # [b] what a score has to lose to be the logarithm of a probability


def best_pieces(examples: Examples, outputs: Tensor, longest: int, or_none: bool = True) -> BestPieces:
    """The best pieces of at most longest tokens, over all windows of a context. outputs [n 2]

    or_none: whether giving no answer shares in the probability.
    """
    layout, lengths, firsts = examples.layout, examples.tokens.lengths, examples.tokens.starts
    begin, end = outputs.double().numpy().T
    inside = layout.spans[:, 0] >= 0
    score, width = furthest(begin, np.where(inside, end, -np.inf), np.repeat(np.arange(len(lengths)), lengths), longest)
    score[~inside] = -np.inf
    bounds = firsts[layout.firsts]  # the first token of each question
    counted = inside.copy()
    counted[firsts] = or_none
    totals = [log_sums(np.where(counted, numbers, -np.inf), bounds) for numbers in (begin, end)]
    none = np.minimum.reduceat((begin + end)[firsts], layout.firsts)
    at = np.array([low + score[low:high].argmax() for low, high in zip(bounds, [*bounds[1:], None], strict=True)])
    found = [
        trimmed(context, layout.spans[one, 0], layout.spans[one + more, 1])
        for context, one, more in zip(layout.contexts, at, width[at], strict=True)
    ]
    return BestPieces(found, score[at], none, totals[0] + totals[1])


def furthest(begin: Array, end: Array, sequence: Rows, longest: int) -> tuple[Array, Rows]:
    """For each token, the best score of a piece that begins there, and how many tokens further it ends. [n], [n]"""
    best, width = begin + end, np.zeros(len(begin), np.int64)
    for more in range(1, min(longest, len(begin))):
        score = np.where(sequence[:-more] == sequence[more:], begin[:-more] + end[more:], -np.inf)
        better = np.flatnonzero(score > best[:-more])
        best[better], width[better] = score[better], more
    return best, width


def log_sums(numbers: Array, bounds: Rows) -> Array:
    """The logarithm of the sum of the exponentials between bounds. [n] -> [b]"""
    most = np.maximum.reduceat(numbers, bounds)
    most[np.isneginf(most)] = 0
    sizes = np.diff(bounds, append=len(numbers))
    with np.errstate(divide="ignore"):
        return most + np.log(np.add.reduceat(np.exp(numbers - np.repeat(most, sizes)), bounds))


def trimmed(context: str, start: int, end: int) -> Answer:
    """A piece of the context without the blanks around it, which some tokens have, and with the accents on its end,
    which some tokenizers leave out."""
    start, end = max(start, 0), max(end, 0)
    while start < end < len(context) and context[end] in ATTACHED:
        end += 1
    piece = context[start:end]
    return Answer(piece.strip(), int(start) + len(piece) - len(piece.lstrip()))


def best_threshold(margin: Array, gain: Array) -> float:
    """Where to stop giving answers: those with the lowest margin are given first, as long as they gain in all."""
    order = np.argsort(margin, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(gain[order])])
    edges = np.concatenate([[margin.min() - 1], margin[order], [margin.max() + 1]])
    most = int(sums.argmax())
    return float((edges[most] + edges[most + 1]) / 2)
