"""Export: a finished model becomes a graph that answers as it does, or nothing is written."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from headwise.errors import InputError, printable
from headwise.families.checkpoint import write_config
from headwise.families.engines import ENGINES, Engine, Feed
from headwise.families.graph import engine_of, feed_of, names_of, write_graph
from headwise.golden import deviation, read_golden, recorded, replay
from headwise.judging.metrics import same
from headwise.model import Model, load
from headwise.reading.batches import packed
from headwise.reading.text import Text
from headwise.tasks.fill_mask import FillMask
from headwise.tasks.text_classification import TextClassification
from headwise.training.asked import Asked
from headwise.training.data import Part, Source
from headwise.training.saving import CARD, whole

BUDGET = 0.5  # points a metric may lose
CALIBRATED = 300  # sequences that settle scales, as many as NNCF takes
QUANTISED = 0.1  # what a number of a golden record may differ where there are no rows with labels to judge by
Wait = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Measured:
    """Both models on the same rows with labels."""

    table: str
    rows: int
    metric: str
    before: float
    after: float
    alike: float | None  # share of rows with the same answer, where answers are no numbers

    @property
    def lost(self) -> float:
        """Points, hundredths of the metric."""
        return round(100 * (self.before - self.after), 9)

    def as_text(self) -> str:
        """A line."""
        alike = "" if self.alike is None else f"; {self.alike:.1%} of the rows are answered the same"
        return f"{self.metric} on {self.rows:,} rows of {self.table}: {self.after:.4f}, was {self.before:.4f}{alike}"


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its answers are from those of the model it was made from."""

    engine: str
    int8: bool
    megabytes: float
    megabytes_before: float
    records: int
    records_otherwise: int  # in words: another label, another answer
    farthest: float  # the largest difference of a number in the others
    measured: Measured | None

    def as_text(self) -> str:
        """Lines for people."""
        kind = "int8" if self.int8 else "float32"
        otherwise = f"{self.records_otherwise} answered otherwise, " if self.records_otherwise else ""
        lines = [
            f"{ENGINES[self.engine].graph}: {kind}, {self.megabytes:,.1f} MB; "
            f"the weights it was made from: {self.megabytes_before:,.1f} MB",
            f"{self.records} golden records: {otherwise}numbers differ by {self.farthest:.2g} at most",
            *([] if self.measured is None else [self.measured.as_text()]),
        ]
        return "\n".join(lines)


def export(
    run: Path,
    out: Path,
    data: Source | None = None,
    asked: Asked | None = None,
    *,
    engine: str = "onnxruntime",
    int8: bool = False,
    calibrate: Source | None = None,
    budget: float = BUDGET,
    overwrite: bool = False,
    wait: Wait = lambda what: nullcontext(),
) -> tuple[Exported, list[str]]:
    """Write the model in run as a graph into the directory out; returns what was measured, and what is to be said.

    data: rows with labels the model has not seen, on which the graph may lose budget points at most. Without them a
    graph in 8 bits must give every golden record its label, and numbers within QUANTISED.
    calibrate: rows, labels or not, by which OpenVINO settles its scales of 8 bits.
    Raises InputError where the graph does not answer as the model does; then nothing is left behind.
    """
    refuse_occupied(out, overwrite)
    if not 0 <= budget <= 100:
        raise InputError(f"--budget is {budget:g}, expected points from 0 to 100: 0.5")
    by = engine_called(engine, int8, calibrate)
    model = load(run)
    notes: list[str] = []
    calibration = [] if calibrate is None else sequences(model, calibrate, asked or Asked(), notes)
    golden = golden_of(run, model, notes)
    part = None if data is None else held_out(model, data, asked or Asked(), notes)
    with whole(out) as new:
        with wait("tracing the graph"):
            write_graph(new, model.checkpoint, by)
            write_config(new, model.checkpoint, model.labels, model.task.problem_type)
            model.write_beside(new)
            write_unchecked(new, model)
        with wait("asking it the golden records"):
            graph = checked(new, golden, out)
        if int8:
            with wait("quantising"):
                by.quantise(new / by.graph, calibration)
                graph = load(new) if part is not None else checked(new, golden, out, QUANTISED)
        with wait("comparing"):
            answers = asked_quietly(graph, golden["texts"])
            measured = None if part is None else compared(model, graph, part)
        refuse_loss(out, measured, budget, int8)
        sizes = megabytes(new, by.files), megabytes(run, "*.safetensors")
        found = Exported(engine, int8, *sizes, len(answers), *deviation(golden["answers"], answers), measured)
        about = asdict(found) | {"budget": budget, engine: version(packages_distributions()[engine][0])}
        (new / "README.md").write_text(readme(graph, found), encoding="utf-8")
        (new / CARD).unlink()  # or its successor would hold its digest
        replace(graph, card={**graph.card, "exported": about}).write_card(new)
    return found, notes


def golden_of(run: Path, model: Model, notes: list[str]) -> dict[str, Any]:
    """The golden records of a run, or such as are made now, which is noted. Raises InputError where none can be."""
    weights, golden = model.weights, read_golden(run)
    if not golden:
        golden = recorded(model.task, weights, model.tokenizer, model.pairs) or {}
        notes.append("the model has no golden records, so its answers of now are taken")
    if not golden:
        raise InputError(f"{run}: the model reads too few tokens to be asked golden records, so no graph can be tried")
    return golden


def megabytes(folder: Path, names: str) -> float:
    """The size of some files together."""
    return sum(file.stat().st_size for file in folder.glob(names)) / 1e6


def refuse_occupied(out: Path, overwrite: bool) -> None:
    """Raise InputError where a directory holds what the user did not say to replace."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory to write the model to; choose another --out")
    exported = (out / CARD).exists() and engine_of(out) is not None
    if exported and not overwrite:
        raise InputError(f"{out}: holds an exported model; choose another --out, or replace it with --overwrite")
    if not exported and any(out.iterdir()):
        raise InputError(f"{out}: holds something that is no exported model; choose another --out")


def engine_called(name: str, int8: bool, calibrate: Source | None) -> type[Engine]:
    """An engine. Raises InputError where there is none of the name, or it wants rows to calibrate by, or no such."""
    if name not in ENGINES:
        raise InputError(f"--engine is {name}, expected {' or '.join(ENGINES)}")
    engine = ENGINES[name]
    wanted = int8 and engine.calibrated
    if wanted and calibrate is None:
        raise InputError(
            f"{engine.title} settles its scales of 8 bits by some texts; give a few hundred: --calibrate train.tsv"
        )
    if calibrate is not None and not wanted:
        raise InputError("--calibrate is for --engine openvino --int8; leave it out, or add what is missing")
    engine.refuse_missing()
    return engine


def sequences(model: Model, source: Source, asked: Asked, notes: list[str]) -> list[Feed]:
    """What a graph reads of some rows, a sequence at a time, and notes on them."""
    texts, _, said = model.unlabelled(source, replace(asked, label_column=None))
    notes.extend(said)
    rows = np.random.default_rng(0).permutation(len(texts))[:CALIBRATED]
    whole_texts = np.zeros((len(rows), 0)) if isinstance(model.task, FillMask) else None  # it asks only of masks else
    tokens = model.task.examples(model.tokenizer, texts.take(rows), whole_texts).tokens
    each = (packed(tokens, np.array([row])) for row in range(min(len(tokens), CALIBRATED)))
    return [feed_of(ids.lengths.rectangles[0], ids.data, types) for ids, types in each]


def held_out(model: Model, data: Source, asked: Asked, notes: list[str]) -> Part:
    """Rows with labels, and notes on them. Raises InputError for those of training."""
    part, said = model.read(data, asked)
    notes.extend(said)
    if model.known_as(part) in ("train", "table"):
        raise InputError(f"{part.records.path}: the model was trained on these rows; give some it has not seen")
    return part


def write_unchecked(new: Path, model: Model) -> None:
    """The card without digests: enough to load what was written and try it."""
    card = {name: value for name, value in model.whole_card.items() if name != "sha256"}
    (new / CARD).write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")


def asked_quietly(model: Model, texts: Sequence[Text]) -> list[dict[str, Any]]:
    """Answers, without a word on texts that are cut: some of the golden records are meant to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.predict(texts)


def checked(new: Path, golden: dict[str, Any], out: Path, bound: float | None = None) -> Model:
    """The model as anybody would load it from what was written. Raises InputError where it answers otherwise."""
    graph = load(new)
    advice = "report it" if bound is None else "give rows with labels to judge it by: --data FILE"
    bound = golden["bound"] if bound is None else bound
    try:
        replay({**golden, "bound": bound, "advice": advice}, lambda texts: asked_quietly(graph, texts))
    except InputError as error:
        raise InputError(f"{out}: not written, {error}") from None
    return graph


def compared(model: Model, graph: Model, part: Part) -> Measured:
    """How both do on the same rows."""
    (_, _, first), (_, _, second) = model.answered(part), graph.answered(part)
    task = model.task
    before, after = (task.scored(part.truth, answers).named(task.metric) for answers in (first, second))
    alike = None
    if isinstance(task, TextClassification):
        alike = float(np.mean(same(first, second)))
    elif first.dtype == object:
        alike = float(np.mean([one == other for one, other in zip(first, second, strict=True)]))
    return Measured(Path(part.records.path).name, len(part), task.metric, float(before), float(after), alike)


def refuse_loss(out: Path, measured: Measured | None, budget: float, int8: bool) -> None:
    """Raise InputError where more is lost than may be."""
    if measured is not None and not measured.lost <= budget:
        advice = "raise --budget, or leave --int8 out" if int8 else "report it"
        raise InputError(
            f"{out}: not written, {measured.as_text()}: {measured.lost:.2f} points lost, {budget:g} may be; {advice}"
        )


def readme(graph: Model, found: Exported) -> str:
    """What it is, what was measured, how to ask it."""
    engine = ENGINES[found.engine]
    lines = "\n".join(f"- {printable(line)}" for line in found.as_text().split("\n"))
    return f"""---
library_name: {engine.library}
pipeline_tag: {graph.task.pipeline}
tags: [headwise, {engine.library}]
---

# {graph.task.name}, {"int8" if found.int8 else "float32"}

{lines}

`headwise predict . "a text"` and `headwise serve .` ask it, with the settings in headwise.json (temperature,
thresholds, when to answer). Without headwise:

```python
import numpy as np, {found.engine}, tokenizers

tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation({graph.tokenizer.max_length})
tokenizer.enable_padding()
read = tokenizer.encode_batch(["a text", "another one"])
inputs = {{
    "input_ids": np.array([one.ids for one in read]),
    "attention_mask": np.array([one.attention_mask for one in read]),
    "token_type_ids": np.array([one.type_ids for one in read]),
}}
wanted = {list(names_of(graph.task.purpose))}
{engine.plainly}
```

Sequences are padded at their right.
"""
