"""How far to trust models on a table: which of two is better, and when one is sure enough to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from headwise.errors import InputError
from headwise.judging.comparison import Comparison
from headwise.judging.fitted import Fitted
from headwise.model import Model, load
from headwise.tasks.fill_mask import FillMask
from headwise.tasks.question_answering import QuestionAnswering
from headwise.tasks.text_classification import TextClassification
from headwise.training.asked import Asked
from headwise.training.data import Source
from headwise.training.saving import CARD, whole

Done = Callable[[int, int], None]


def compared(
    first: Model, second: Model, source: Source, asked: Asked, done: Done | None = None
) -> tuple[Comparison, list[str]]:
    """Two models of a task on the same rows, and what is to be said about the rows.

    Raises InputError where their answers cannot be compared: of another task, with other labels, or, where tokens are
    what they are asked for, with another tokenizer.
    """
    first.task.refuse_other(second.task)
    part, notes = first.read(source, asked)
    theirs, _ = second.read(source, asked)
    (here, _, mine), (there, _, others) = first.answered(part, done), second.answered(theirs, done)
    if isinstance(first.task, FillMask) and not np.array_equal(here.tokens.ids, there.tokens.ids):
        raise InputError(
            "the two models cannot be compared: they are asked for hidden tokens, which are others, as their "
            "tokenizers differ, or how many tokens they read"
        )
    return first.task.compared(part.truth, mine, first.task.renumbered(others, second.task)), notes


def decided(
    run: Path,
    source: Source,
    asked: Asked,
    most_error: float | None,
    false_alarms: float | None,
    done: Done | None = None,
) -> tuple[Fitted, list[str]]:
    """Write into the model directory run when the model answers from now on. What was settled before is replaced.

    Returns that and what is to be said. Raises InputError for the rows of training, of which the model is too sure,
    and where nothing can be promised; then nothing is written.
    """
    if most_error is None and false_alarms is None:
        raise InputError("nothing to decide; give --most-error 0.02, --false-alarms 0.05, or both")
    model = load(run)
    if not isinstance(model.task, TextClassification | QuestionAnswering):
        raise InputError(
            "when to answer is decided for classifiers and for answers to questions, and this model is one of "
            f"{model.task.name}; of rankings search takes --least"
        )
    task, (part, notes) = model.task, model.read(source, asked)
    name = model.known_as(part)
    if name in ("train", "table"):
        raise InputError(f"{part.records.path}: the model was trained on these rows; give some it has not seen")
    if name == "validation":
        notes.append(
            f"{part.records.path}: these rows chose the weights, so the promise is a little weaker than it says"
        )
    examples, outputs, _ = model.answered(part, done)
    task = task.decided(examples, outputs, most_error, false_alarms)
    with whole(run) as new:
        replace(model, task=task).write_card(new, model.card.get("sha256"))
    return task.fitted, [*notes, f"{run / CARD}: written"]
