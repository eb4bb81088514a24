"""All that is settled before the first step: what is read, what is guessed, what the recipe is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headwise.core.spec import Head, Stack
from headwise.errors import InputError
from headwise.families.averaging import averaged
from headwise.families.checkpoint import Checkpoint, labels_of, purpose_of, read_config, read_model, specs
from headwise.families.family import Purpose
from headwise.families.hub import locate
from headwise.progress import Narrator
from headwise.reading.batches import Examples, Rows
from headwise.reading.long_texts import MOST_WINDOWS, sizes
from headwise.reading.text import TextTokenizer, Tokens
from headwise.tasks.task import Task
from headwise.tasks.windowed import Windowed
from headwise.training import few_shot
from headwise.training.asked import Asked
from headwise.training.data import Data, Source, read_data
from headwise.training.frozen import rest
from headwise.training.lora import economy
from headwise.training.recipe import Recipe

FEW = 0.01  # of the training rows: where no more are longer than the model reads they are cut, which is said


@dataclass(frozen=True, eq=False)
class Job:
    """All that is settled before the first step."""

    name: str  # of the model it starts from
    data: Data
    checkpoint: Checkpoint
    tokenizer: TextTokenizer
    train: Examples
    valid: Examples
    judged: Examples
    recipe: Recipe
    notes: tuple[str, ...]
    start: Callable[..., Checkpoint]  # reads the model it starts from once more: start(seed=…)

    def again(self, seed: int) -> Job:
        """The same job from its beginning with another seed of order, dropout and head; the splits stay."""
        return replace(self, checkpoint=self.start(seed=seed), recipe=replace(self.recipe, seed=seed))

    def noting(self, note: str) -> Job:
        """The same job with something more to be said."""
        return replace(self, notes=(*self.notes, note))

    @property
    def metric(self) -> str:
        """What chooses the best weights."""
        return self.recipe.metric or self.data.task.metric

    def places(self, rows: Rows) -> str:
        """The file and lines of the first few of these training rows."""
        rows = rows if self.train.origin is None else np.unique(self.train.origin[rows])
        records, (first, *others) = self.data.train.records, rows[:5].tolist()
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return ", ".join([records.where(first), *(str(records.line(row)) for row in others)]) + more

    def made_for(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        asked = self.data.asked
        return {
            "model": self.name,
            "task": self.data.task.name,
            "prefixes": [asked.query_prefix, asked.document_prefix],
            "recipe": asdict(self.recipe),
            "data": self.data.fingerprints(),
        }


def prepared(
    train: Source, valid: Source | None, test: Source | None, name: str, options: dict[str, Any], narrator: Narrator
) -> Job:
    """Read everything and settle everything, telling what was guessed."""
    asked = Asked(**{field.name: options.pop(field.name) for field in fields(Asked) if field.name in options})
    options = {name: plain(value) for name, value in options.items()}
    seed = Recipe.of(1, 1, **options).seed  # refuses a wrong option before anything is read
    directory = locate(name)
    config = read_config(directory)
    known = {purpose_of(config) or "ForSequenceClassification": labels_of(config)}
    data = read_data(train, valid, test, asked, seed, known)
    narrator.say(*data.notes)
    task, purpose = data.task, data.task.purpose
    stack, head = specs(directory, purpose=purpose)
    recipe = Recipe.of(len(data.train), stack.d_model, **options)
    refuse_unfit(recipe, task, stack, head)
    said = few_shot.note(task, data.train.truth, recipe.few_shot)
    redraw = not task.keeps_head(known.get(purpose))
    start = partial(started, directory, recipe, len(task.labels), purpose, redraw)
    checkpoint = start(seed=seed)
    data = replace(data, task=task.settled(recipe.class_weights, recipe.label_smoothing, data.train.truth))
    most = min(recipe.max_length or checkpoint.max_length, checkpoint.max_length)
    tokenizer = TextTokenizer.read(directory, most, checkpoint.vocab_size, recipe.max_windows or 1, checkpoint.n_types)
    with narrator.wait("reading the texts"):
        examples, recipe = read_texts(data, tokenizer, recipe)
    cuts = [sizes(name, one, tokenizer, task.apart) for name, one in examples.items()]
    if recipe.frozen_layers:
        said.append(rest(checkpoint.model, recipe.frozen_layers))
    if recipe.lora_rank:
        said.append(economy(checkpoint.model, recipe.lora_rank, recipe.frozen_layers))
    notes = [*checkpoint.notes, *said, *cuts, *unknown(examples["train"].tokens, name)]
    settled = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown(recipe)]
    narrator.say(*notes, f"recipe: {', '.join(settled)}")
    return Job(
        name,
        data,
        checkpoint,
        tokenizer,
        examples["train"],
        examples["validation"],
        examples[data.judged.name],
        recipe,
        (*data.notes, *notes),
        start,
    )


def refuse_unfit(recipe: Recipe, task: Task, stack: Stack, head: Head) -> None:
    """Raise InputError for what the recipe asks of a task or a model that has none of it."""
    if recipe.metric is not None and recipe.metric not in task.metrics:
        raise InputError(f"metric {recipe.metric!r}: expected {', '.join(task.metrics)}")
    if recipe.max_windows is not None and not isinstance(task, Windowed):
        raise InputError(f"--max-windows is for tasks of one answer per text, {task.name} is none; leave it out")
    if recipe.lora_rank >= stack.d_model:
        raise InputError(f"lora_rank is {recipe.lora_rank}, expected less than the model's width, {stack.d_model}")
    most = len(stack.blocks)
    if recipe.frozen_layers > most:
        raise InputError(f"frozen_layers is {recipe.frozen_layers}, expected at most {most}, as many as the model has")
    if recipe.frozen_layers == most and head.n_labels is None:
        raise InputError(f"frozen_layers is {most}, so that nothing would learn: {task.name} has no last layer")


def plain(value: Any) -> Any:
    """A number of numpy's, or a mapping that holds some, as Python's, which alone JSON takes."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def started(directory: Path, recipe: Recipe, n_labels: int, purpose: Purpose, redraw: bool, seed: int) -> Checkpoint:
    """The model it starts from; with few rows per class, one whose head reads the mean over positions."""
    found = read_model(directory, n_labels, purpose, redraw=redraw, dropout=recipe.dropout, seed=seed)
    return averaged(found) if recipe.few_shot else found


def read_texts(data: Data, tokenizer: TextTokenizer, recipe: Recipe) -> tuple[dict[str, Examples], Recipe]:
    """The texts of each split made ready for the model, and the recipe with what became of long ones.

    Where it does not say, they are read in MOST_WINDOWS, or cut where they are FEW.
    """

    def ready() -> dict[str, Examples]:
        return {part.name: data.task.examples(tokenizer, part.texts, part.truth) for part in data.parts}

    found = ready()
    if not isinstance(data.task, Windowed):
        return found, recipe
    long = any(one.tokens.cut.any() for one in found.values())
    few = long and (found["train"].tokens.cut > 0).mean() <= FEW
    if recipe.max_windows is None and recipe.max_length is None and not few:
        tokenizer.max_windows = MOST_WINDOWS
        found = ready() if long else found
    return found, replace(recipe, max_windows=tokenizer.max_windows)


def shown(recipe: Recipe) -> list[tuple[str, Any]]:
    """The hyperparameters people look at first."""
    names = ("learning_rate", "epochs", "batch_size", "weight_decay", "lr_scheduler_type", "warmup_ratio", "seed")
    return [(name, getattr(recipe, name)) for name in names]


def unknown(tokens: Tokens, name: str) -> list[str]:
    """A warning where a model cannot read much of the text."""
    share = tokens.unknown / len(tokens.ids)
    if share < 0.02:
        return []
    return [f"{share:.0%} of the tokens are unknown to {name}: it was not made for this language; try another --model"]
