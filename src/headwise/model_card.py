"""The model card: README.md of a run, as the Hugging Face hub lays it out."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from headwise.errors import printable
from headwise.job import Job
from headwise.judging.report import Verdict, cautions, headline
from headwise.model import Model
from headwise.reading.long_texts import in_transformers
from headwise.tasks.text_classification import TextClassification
from headwise.tasks.windowed import Windowed
from headwise.training.recipe import Recipe


def model_card(model: Model, job: Job, seeds: int) -> str:
    """Data, recipe, metrics with intervals, calibration, limits, how to reproduce."""
    report = model.report
    assert report is not None  # a run that was just trained has one
    metrics = list(report.metrics)
    table = [["", *report.metrics.values()], ["---"] * (1 + len(metrics))]
    table += [[escaped(one.name), *(figure(one, name) for name in metrics)] for one in report.verdicts]
    lines = "\n".join(f"| {' | '.join(line)} |" for line in table)
    auto = "AutoModel" + model.task.purpose.removeprefix("Model")
    windowed = isinstance(model.task, Windowed) and model.tokenizer.max_windows > 1
    windows = in_transformers(model.tokenizer) if windowed else ""
    return f"""---
library_name: transformers
pipeline_tag: {model.task.pipeline}
base_model: {json.dumps(printable(model.card["base_model"]), ensure_ascii=False)}
tags: [headwise]
---

# {escaped(report.title)}

{escaped(headline(report))}.
`headwise predict . "{example(model)}"` asks it; transformers opens it with {auto}.

## Scores

On {report.verdicts[-1].scores.rows:,} {report.split} rows, with 95 % bootstrap intervals:

{lines}

{listed([*cautions(report), *report.findings.said])}

## Data

{listed([*report.notes, *(f"sha256 of {name}: {digest}" for name, digest in job.data.fingerprints().items())])}

## Recipe

{listed([f"{name}: {value}" for name, value in report.facts])}

## Limits

{listed(limits(model))}
{windows}

## Again

    {command(job, seeds)}
"""


def example(model: Model) -> str:
    """Something it can be asked; where it fills masks, with one."""
    tokenizer = model.tokenizer
    if model.task.purpose != "ForMaskedLM" or tokenizer.mask_id is None:
        return "a text"
    return f"a {tokenizer.tokenizer.id_to_token(tokenizer.mask_id)} text"


def limits(model: Model) -> list[str]:
    """What it cannot do, or does otherwise than one may think."""
    said = [
        "The scores are about rows like those it was judged on; texts of another source, language or time may do worse."
    ]
    if isinstance(model.task, Windowed) and model.tokenizer.max_windows == 1:
        said.append("A text longer than the model reads is cut at its end, in training and in use.")
    if isinstance(model.task, TextClassification):
        said.append("It answers every text, also one no label fits, unless `headwise decide` has settled when not to.")
        said.append(
            "Probabilities are those of the logits divided by the temperature in headwise.json; transformers does not "
            "divide."
        )
    return said


def escaped(text: str) -> str:
    """What shows as this text in Markdown, whatever is in it."""
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(printable(text), quote=False))


def listed(texts: list[str]) -> str:
    """A line of a list for each line of text."""
    return "\n".join(f"- {escaped(line)}" for text in texts for line in text.split("\n"))


def figure(verdict: Verdict, metric: str) -> str:
    """A score with its interval."""
    interval = verdict.intervals.get(metric)
    return f"{verdict.scores.named(metric):.4f}" + (f" ({interval})" if interval else "")


def command(job: Job, seeds: int) -> str:
    """The command that makes the same run on the same kind of machine; files by the names they had."""
    train, others = job.data.train.records.path, {"valid": job.data.valid, "test": job.data.test}
    words = ["headwise", "train", str(train), "--out", "run"]
    for name, part in others.items():
        if part is not None and part.records.path != train:
            words += [f"--{name}", str(part.records.path)]
    words += ["--model", job.name, *options(asdict(job.data.asked), {})]
    reckoned = ("learning_rate", "batch_size", "epochs", "precision")  # from the data and the machine
    usual = {one.name: one.default for one in fields(Recipe) if one.name not in reckoned}
    words += options(asdict(job.recipe), usual)
    return " ".join(map(quoted, [*words, *(["--seeds", str(seeds)] if seeds > 1 else [])]))


def quoted(word: str) -> str:
    """A word for a shell, in characters that can be seen."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + word.encode("unicode_escape").decode().replace("'", "\\'") + "'"


def options(given: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    """Words of the command line for what is not as usual."""
    words = []
    for name, value in given.items():
        if value is None or value is False or (name in usual and value == usual[name]):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, Mapping):
            words.append(",".join(f"{label}={weight}" for label, weight in value.items()))
        elif value is not True:
            words.append(str(value))
    return words
