"""What a user may say about a table; imports nothing that takes long, as the command line shows it in its help."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from headwise.errors import InputError
from headwise.knobs import knob, refuse_misspelt


@dataclass(frozen=True)
class Asked:
    """What a user may say about a table; None is guessed, and the guess is told."""

    task: str | None = knob(
        None,  # the names of tasks.TASKS, whose import takes seconds; a test compares them
        "token-classification, question-answering, regression, text-classification, fill-mask, feature-extraction; "
        "guessed from the table unless given",
    )
    text_column: str | None = knob(None, "column of the text; found by its usual names unless given")
    pair_column: str | None = knob(None, "column of the second text, where texts come in pairs")
    label_column: str | None = knob(None, "column of the label; found by its usual names unless given")
    label_separator: str | None = knob(None, "a text may have several labels in one field, cut here: '|'")
    delimiter: str | None = knob(None, "between the fields of a csv; found unless given")
    no_quote: bool = knob(False, "quotation marks in a csv are characters like any other")
    query_prefix: str = knob(
        "", "feature-extraction: put before single texts and the first of a pair; 'query: ' for e5 models"
    )
    document_prefix: str = knob("", "feature-extraction: put before every second text; 'passage: ' for e5 models")
    skip_empty: bool = knob(False, "leave rows without text out instead of stopping")

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, type(one.default) if one.default is not None else str | None):
                raise InputError(f"{one.name} is {value!r}, expected {'yes or no' if one.default is False else 'text'}")
        if self.label_separator == "":
            raise InputError("--label-separator is empty, expected what stands between labels, such as '|'")

    @staticmethod
    def of(**given: Any) -> Asked:
        """What is given by name. Raises InputError for a name that is none."""
        refuse_misspelt(given, Asked)
        return Asked(**given)
