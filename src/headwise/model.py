"""A fine-tuned model with all it needs: load it, ask it, score it, save it."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from headwise.core.prepacked import prepack
from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError, excerpt
from headwise.families.checkpoint import Checkpoint, read_config, read_model, write_model
from headwise.families.graph import Graph, engine_of, read_graph
from headwise.families.hub import sha256
from headwise.golden import GOLDEN, recorded
from headwise.insight.explain import explain
from headwise.insight.explanation import Explanation
from headwise.judging.metrics import Scored
from headwise.judging.report import Report, Verdict
from headwise.reading.batches import Examples
from headwise.reading.columns import Columns, choose_columns
from headwise.reading.long_texts import MOST_WINDOWS, sizes
from headwise.reading.records import Records
from headwise.reading.text import Text, Texts, TextTokenizer, json_object
from headwise.tasks import named, usual
from headwise.tasks.task import Array, Task
from headwise.tasks.text_classification import TextClassification
from headwise.training.asked import Asked
from headwise.training.data import Part, Source, empty_texts, fingerprint, opened, other_part
from headwise.training.inference import DTYPES, predicted
from headwise.training.recipe import Precision
from headwise.training.saving import CARD, CHECKPOINTS, digests, whole

Judged = tuple[Verdict, Array]  # with the answers it is about


@dataclass(frozen=True, eq=False)
class Model:
    """An encoder with a head, its tokenizer, and what it answers.

    card: what headwise.json says of where the model came from; empty for a directory made by other tools.
    report: how it did in training, where it was just trained.
    precision: what its matrix products are computed in when it is asked; explanations are made in float32.

    Raises InputError for a precision that is none.
    """

    task: Task
    checkpoint: Checkpoint
    tokenizer: TextTokenizer
    card: dict[str, Any] = field(default_factory=dict)
    report: Report | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.precision not in DTYPES:
            raise InputError(f"precision is {self.precision!r}, expected {' or '.join(DTYPES)}")
        model = self.checkpoint.model
        if isinstance(model, Graph) and self.precision != "float32":
            raise InputError("an exported model computes as it was exported; leave precision out, or take the run")
        prepack(model.encoder, DTYPES[self.precision], model.first_only)
        prepack(model.head)

    def __repr__(self) -> str:
        """A line: what it does, and how large it is."""
        spec, labels = self.checkpoint.model.encoder.spec, ", ".join(self.labels[:4]) + ", …" * (len(self.labels) > 4)
        return f"<headwise.Model: {self.task.name} ({labels or 'vectors'}), {len(spec.blocks)} × {spec.d_model}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of probabilities()."""
        return self.task.labels

    @property
    def weights(self) -> HeadedEncoder:
        """The encoder and the head. Raises InputError where a graph stands in their place."""
        if isinstance(self.checkpoint.model, Graph):
            raise InputError("an exported model has no weights to look into or to write; take the run it was made from")
        return self.checkpoint.model

    @property
    def classification(self) -> TextClassification:
        """The task of a classifier. Raises InputError where the model is none."""
        if not isinstance(self.task, TextClassification):
            raise InputError(f"a model of {self.task.name} has no labels to choose from; ask it with predict")
        return self.task

    def probabilities(
        self, texts: Sequence[Text], done: Callable[[int, int], None] | None = None
    ) -> npt.NDArray[np.float32]:
        """The probability of each label for b texts, or pairs of texts. [b labels]

        Raises InputError where the model is no classifier.
        """
        task, texts = self.classification, listed(texts)
        if not len(texts):
            return np.zeros((0, len(self.labels)), np.float32)
        return task.probabilities(self.asked(texts, done)[1])

    def asked(
        self, texts: Sequence[Text], done: Callable[[int, int], None] | None = None
    ) -> tuple[Examples, torch.Tensor]:
        """Texts made ready for the model, and what it makes of them."""
        texts = listed(texts)
        if not isinstance(texts, Texts):
            refuse_missing(texts)
        self.refuse_other_kind(texts)
        self.refuse_half_pairs(texts)
        examples = self.task.examples(self.tokenizer, texts)
        if examples.tokens.cut.any():
            warnings.warn(sizes("asked", examples, self.tokenizer, self.task.apart), stacklevel=3)
        outputs, _ = predicted(self.checkpoint.model, self.task, examples, done, self.precision)
        return examples, outputs

    def known_as(self, part: Part) -> str:
        """Which rows of its training these are: train, validation, test, or the table they were split from; else ''."""
        mine = fingerprint(part)
        return next((name for name, digest in (self.card.get("data") or {}).items() if digest == mine), "")

    @property
    def pairs(self) -> bool:
        """Whether it was trained on pairs of texts that it reads together."""
        return bool((self.card.get("columns") or {}).get("pair")) and not self.task.apart

    def refuse_other_kind(self, texts: Sequence[Text]) -> None:
        """Raise InputError for single texts where the model was trained on pairs, and the reverse."""
        trained = self.card.get("columns")
        if not trained or self.task.apart:
            return  # other tools do not say
        if isinstance(texts, Texts):
            pairs = {texts.second is not None}
        else:
            pairs = {not isinstance(one, str) for one in texts if isinstance(one, str | tuple | list | np.ndarray)}
        if trained.get("pair") and False in pairs:
            raise InputError(
                "this model was trained on pairs of texts, found single ones; give (first, second), "
                "or --input with a table of two text columns"
            )
        if not trained.get("pair") and True in pairs:
            raise InputError(
                "this model was trained on single texts, found pairs; give single ones, of a table by --text-column"
            )

    def refuse_half_pairs(self, texts: Sequence[Text]) -> None:
        """Raise InputError at the first pair that lacks a text; those of a table were looked at when it was read."""
        if isinstance(texts, Texts) or not (self.card.get("columns") or {}).get("pair"):
            return
        for row, pair in enumerate(texts):
            for side, name in zip((pair,) if isinstance(pair, str) else pair, ("first", "second"), strict=False):
                if isinstance(side, str) and not side.strip():
                    raise InputError(f"pair {row + 1}: the {name} text is empty; write one or leave the pair out")

    def predict(self, texts: Sequence[Text], done: Callable[[int, int], None] | None = None) -> list[dict[str, Any]]:
        """One answer per text or pair, as its task tells it: {"label": "positive", "score": 0.98}, or {"labels": […],
        "scores": […]} where a text may have several. Raises InputError for what is no list of texts."""
        texts = listed(texts)
        return self.task.told(*self.asked(texts, done)) if len(texts) else []

    @torch.inference_mode(False)
    @torch.enable_grad()
    def explain(self, text: Text, **how: Any) -> Explanation:
        """Why a text or pair got its answer: where the model looked, what mattered, and how far to believe it.

        how: label, against ('why A and not B'), word, method, layers, heads, as of headwise.insight.explain.explain.
        Raises InputError for what the model does not have, and for a text that is empty, too long or half a pair.
        """
        second = (self.card.get("columns") or {}).get("pair")
        if second and isinstance(text, str):
            raise InputError(f"the model reads pairs of texts, found one; give the second ({second}) with it: --pair")
        if not isinstance(text, str):
            self.refuse_other_kind([text])
        return explain(self.weights, self.task, self.tokenizer, text, **how)

    def evaluate(self, source: Source, **asked: Any) -> Scored:
        """Accuracy, F1 and per-class scores on a table with labels; columns as in training unless given."""
        return self.judge(source, Asked.of(**asked)).verdicts[-1].scores

    def judge(self, source: Source, asked: Asked, done: Callable[[int, int], None] | None = None) -> Report:
        """The same as a whole report. Raises InputError for a table that does not fit the model."""
        part, notes = self.read(source, asked)
        began = time.perf_counter()
        examples, outputs, answers = self.answered(part, done)
        seconds = time.perf_counter() - began
        scores, spans = self.task.scored(part.truth, answers), self.task.intervals(part.truth, answers)
        verdict = Verdict("the model", scores, seconds, spans)
        return reported(
            self.task,
            part,
            examples,
            outputs,
            ((verdict, answers),),
            facts=(("rows", f"{len(part):,}"), ("seconds", f"{seconds:.1f}")),
            notes=(*notes, sizes(part.name, examples, self.tokenizer, self.task.apart)),
            metric=self.task.metric,
            history=(),
        )

    def answered(
        self, part: Part, done: Callable[[int, int], None] | None = None
    ) -> tuple[Examples, torch.Tensor, Array]:
        """Rows with their truth made ready for the model, what it makes of them, and its answers."""
        examples = self.task.examples(self.tokenizer, part.texts, part.truth)
        outputs, _ = predicted(self.checkpoint.model, self.task, examples, done, self.precision)
        return examples, outputs, self.task.decide(examples, outputs)

    def read(self, source: Source, asked: Asked) -> tuple[Part, list[str]]:
        """A table with labels, its columns called as in training unless asked otherwise."""
        records, _ = opened(source, asked)
        columns = self.columns(records, asked, self.task.needs_label)
        asked = replace(asked, label_separator=asked.label_separator or self.card.get("label_separator"))
        part, said = other_part(records, "evaluated", columns, self.task, asked)
        return part, [*columns.notes, *said]

    def unlabelled(self, source: Source, asked: Asked) -> tuple[Texts, Records, list[str]]:
        """The texts of a table, the table, and what was guessed."""
        records, notes = opened(source, asked)
        columns = self.columns(records, asked, need_label=False)
        empty, place = empty_texts(records, columns, type(self.task))
        if columns.pair is not None and empty.any():
            raise InputError(f"{place}; write one or delete the row")
        if empty.any():
            notes.append(f"{place} ({int(empty.sum())} such rows in all): what is answered to nothing means nothing")
        return self.task.texts(records, columns), records, [*notes, *columns.notes]

    def columns(self, records: Records, asked: Asked, need_label: bool | None = True) -> Columns:
        """Which columns to read: those asked for, else those of training where they are there, else a guess."""
        usual = self.card.get("columns") or {}
        names = {"text": asked.text_column, "pair": asked.pair_column, "label": asked.label_column}
        for role in ("text", "pair") if need_label is False else names:
            there = usual.get(role) in records.columns and usual.get(role) not in names.values()
            names[role] = names[role] or (usual.get(role) if there else None)
        found = choose_columns(records, **names, need_label=need_label)
        if usual.get("pair") and found.pair is None and not (self.task.apart and need_label is False):
            raise InputError(
                f"{records.path}: no column {usual['pair']}, the second text of training; name it with --pair-column"
            )
        return found

    def save(self, directory: str | Path) -> None:
        """Write a Hugging Face model directory that transformers opens, plus headwise.json.

        Raises InputError where it cannot be written whole; then nothing is.
        """
        with whole(Path(directory)) as new:
            self.write(new)

    def write(self, directory: Path) -> None:
        """Put every file of the model into an empty folder, golden records and headwise.json with digests last."""
        write_model(directory, replace(self.checkpoint, model=self.weights), self.labels, self.task.problem_type)
        self.write_beside(directory)
        self.write_card(directory)

    def write_beside(self, directory: Path) -> None:
        """Put the tokenizer, and what other tools want to find, into a folder."""
        self.tokenizer.write(directory)
        for name, text in self.task.files(self.checkpoint.model, self.tokenizer.max_length).items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8")

    @property
    def whole_card(self) -> dict[str, Any]:
        """What the card says, and of a directory made by other tools what is taken for granted."""
        taken = {"task": self.task.name, "recipe": {"max_windows": self.tokenizer.max_windows}}
        return {**taken, **self.card, "settings": self.task.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a pickle: products are laid out for the processor it is opened on."""
        self.__dict__.update(state)
        self.__post_init__()

    def write_card(self, directory: Path, written: Mapping[str, str] | None = None) -> None:
        """Put the golden records and headwise.json into a folder. written: digests of files that lie elsewhere."""
        golden = recorded(self.task, self.checkpoint.model, self.tokenizer, self.pairs)
        if golden is not None:
            (directory / GOLDEN).write_text(json.dumps(golden, indent=1, ensure_ascii=False), encoding="utf-8")
        card = {**self.whole_card, "sha256": {**(written or {}), **digests(directory)}}
        (directory / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf-8")


def listed(texts: Any) -> Sequence[Text]:
    """Texts as a sequence that counts from 0, as a column of pandas does not. Raises InputError for what is none."""
    if isinstance(texts, Texts | list | tuple):
        return texts
    if isinstance(texts, str):
        raise InputError("expected a list of texts, found one string; give [text]")
    if isinstance(texts, Mapping | Records) or hasattr(texts, "columns"):
        raise InputError("expected a list of texts, found a table; give one column of it: table['text']")
    if hasattr(texts, "to_pylist"):  # Arrow's, whose own items are no text
        return list(texts.to_pylist())
    if not isinstance(texts, Iterable):
        raise InputError(f"expected a list of texts, found a {type(texts).__name__}")
    return list(texts)


def refuse_missing(texts: Sequence[Any]) -> None:
    """Raise InputError at the first of some texts or pairs that is neither."""
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str | tuple | list | np.ndarray):
            raise InputError(f"text {number} is {excerpt(str(text))}, expected a text; give one or leave it out")


def reported(
    task: Task,
    part: Part,
    examples: Examples,
    outputs: torch.Tensor,
    judged: Sequence[Judged],
    *,
    facts: tuple[tuple[str, str], ...],
    notes: tuple[str, ...],
    metric: str,
    history: tuple[dict[str, float], ...],
) -> Report:
    """The report on some rows: outputs are what the model made of them, judged the baselines and then the model."""
    details = [(verdict.name, task.breakdown(part.truth, answers)) for verdict, answers in judged[-2:]]
    return Report(
        title=f"{task.name}: {part.records.path}",
        facts=facts,
        notes=notes,
        metrics=task.shown(metric),
        metric=metric,
        verdicts=tuple(verdict for verdict, _ in judged),
        history=history,
        split=part.name,
        findings=task.findings(part.texts, examples, outputs),
        breakdown=tuple((name, text) for name, text in details if text),
    )


def load(directory: str | Path, precision: Precision = "float32") -> Model:
    """The model of a finished run, also exported, or of any Hugging Face directory with a head of a family we have.

    precision: of its matrix products when it is asked. bfloat16 takes about half the time where the processor computes
    in it, and probabilities move in the third digit.

    Raises InputError where there is none, where it is damaged, and for what is not safetensors.
    """
    place = Path(directory)
    if not place.is_dir():
        found = "is a file, expected the directory of a model" if place.exists() else "no such model directory"
        raise InputError(f"{place}: {found}")
    if (place / CHECKPOINTS).is_dir() and not (place / CARD).exists():
        raise InputError(f"{place}: training has not finished here; go on with the same command and --resume")
    card = json_object(place / CARD)
    parts = [card.get(name) for name in ("sha256", "columns", "settings")]
    if not all(part is None or isinstance(part, dict) for part in parts):
        raise InputError(f"{place / CARD}: not as headwise writes it; take a whole copy")
    for name, digest in (card.get("sha256") or {}).items():
        if not (place / name).exists() or sha256(place / name) != digest:
            raise InputError(f"{place / name}: not the file that was saved (its sha256 differs); take a whole copy")
    config = read_config(place)
    kind = named(card["task"]) if "task" in card else usual(config)
    if kind is None:
        raise InputError(f"{place / 'config.json'}: no head for a task of ours; fine-tune it: headwise train")
    engine, purpose = engine_of(place, card.get("sha256") or {}), kind.purpose
    checkpoint = read_model(place, purpose=purpose) if engine is None else read_graph(place, engine, purpose)
    most = json_object(place / "tokenizer_config.json").get("model_max_length") or math.inf
    if not isinstance(most, int | float) or not most >= 3:
        raise InputError(f"{place / 'tokenizer_config.json'}: model_max_length is no length; fetch the file again")
    most = int(min(most, checkpoint.max_length))
    windows = windows_of(card, place)
    tokenizer = TextTokenizer.read(place, most, checkpoint.vocab_size, windows, checkpoint.n_types)
    try:
        task = kind.of_config(config, checkpoint.labels).restored(card.get("settings") or {})
    except InputError as error:
        raise InputError(f"{place / CARD}: {error}; take a whole copy") from None
    return Model(task, checkpoint, tokenizer, card, precision=precision)


def windows_of(card: dict[str, Any], place: Path) -> int:
    """In how many windows a long text is read: as in training; by a model of other tools, in all it needs."""
    if not card:
        return MOST_WINDOWS
    recipe = card.get("recipe")
    found = recipe.get("max_windows") if isinstance(recipe, dict) else None
    if found is not None and (type(found) is not int or found < 1):
        raise InputError(f"{place / CARD}: max_windows is no number of windows; take a whole copy")
    return found or 1  # runs of before there were windows cut
