"""One file per task: its loss, how its outputs are read, its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwise.errors import InputError
from headwise.reading.columns import Columns
from headwise.reading.records import Records
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.fill_mask import FillMask
from headwise.tasks.question_answering import QuestionAnswering
from headwise.tasks.regression import Regression
from headwise.tasks.task import Task
from headwise.tasks.text_classification import TextClassification
from headwise.tasks.token_classification import TokenClassification

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (TokenClassification, QuestionAnswering, Regression, TextClassification, FillMask, FeatureExtraction)
}
"""By name, those that are guessed first before those that would fit, too."""


def named(name: str) -> type[Task]:
    """The task of this name. Raises InputError where there is none."""
    if not isinstance(name, str) or name not in TASKS:
        raise InputError(f"task {name!r}: expected {', '.join(TASKS)}")
    return TASKS[name]


def guessed(records: Records, columns: Columns) -> type[Task]:
    """The first task a table looks to be made for."""
    return next(task for task in TASKS.values() if task.fits(records, columns))


def usual(config: Mapping[str, Any]) -> type[Task] | None:
    """The task of a model that other tools made, from its config.json; None where we have none."""
    return next((task for task in TASKS.values() if task.matches(config)), None)
