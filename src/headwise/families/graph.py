"""Graphs: traced from our own modules, and run by an engine in their place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headwise.core import spec
from headwise.core.packed import Lengths, Packed, Rectangle
from headwise.core.padded import Cells, Padded
from headwise.core.transformer import HeadedEncoder, Undrawn
from headwise.errors import InputError
from headwise.families.checkpoint import INDEX, ONE_FILE, Checkpoint, labels_of, read_config, specs
from headwise.families.engines import ENGINES, LARGE, ONNX, Engine, Feed, explained, needed
from headwise.families.family import Purpose

OUTPUTS: Mapping[Purpose, tuple[str, ...]] = {
    "ForQuestionAnswering": ("start_logits", "end_logits"),
    "Model": ("last_hidden_state", "sentence_embedding"),
}
"""What comes out, as transformers and sentence-transformers call it; elsewhere it is logits."""


def names_of(purpose: Purpose) -> tuple[str, ...]:
    """The outputs of a graph."""
    return OUTPUTS.get(purpose, ("logits",))


class Traced(nn.Module):
    """A model as other runtimes see it: rectangles in, the usual outputs out."""

    def __init__(self, model: HeadedEncoder, purpose: Purpose, flat: bool):
        super().__init__()
        self.model, self.purpose, self.flat = model, purpose, flat

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """[b t] three times -> logits [b c] or [b t c]; start and end [b t]; states [b t d] and unit vectors [b d]"""
        lengths = Padded(real=attention_mask.bool(), flat=self.flat)
        types = None if token_type_ids is None else lengths.packed([token_type_ids])
        states = self.model.encoder(
            Cells.of_rectangle(input_ids, lengths), types, first=self.model.first_only and self.purpose != "Model"
        )
        outputs = self.model.answers(states).flatten(0, -2)  # [b c] or [n c]
        if self.purpose == "Model":
            return states.rectangle(), nn.functional.normalize(outputs, dim=-1)
        if self.model.head.spec.pool is None:
            outputs = outputs.view(*input_ids.shape, -1)
        return tuple(outputs.unbind(-1)) if self.purpose == "ForQuestionAnswering" else (outputs,)


def write_graph(directory: Path, checkpoint: Checkpoint, engine: type[Engine]) -> None:
    """Trace a model into an engine's graph for any number of sequences of any length."""
    model = checkpoint.model.eval()
    inputs = ["input_ids", "attention_mask"]
    if model.encoder.spec.embeddings.n_types > 1:
        inputs.append("token_type_ids")
    size = (2, 3)  # above 1, which a trace would take for a constant; no input may be another's very tensor
    large = sum(weight.numel() * weight.element_size() for weight in model.parameters()) > LARGE
    with needed("onnx"):
        import onnxscript  # noqa: F401  torch's exporter is written in it

        program = torch.onnx.export(
            Traced(model, checkpoint.purpose, engine.flat).eval(),
            tuple(
                (torch.ones if name == "attention_mask" else torch.zeros)(size, dtype=torch.int64) for name in inputs
            ),
            input_names=inputs,
            output_names=names_of(checkpoint.purpose),
            dynamic_shapes=tuple({0: "batch", 1: "length"} for _ in inputs),
            verbose=False,
        )
        assert program is not None
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # where in our files each was made, by the whole path on this machine
        program.save(directory / ONNX, external_data=large)
    engine.convert(directory / ONNX)


def feed_of(part: Rectangle, ids: Tensor, types: Tensor) -> Feed:
    """What a graph reads of a rectangle. ids [n], types [n]"""
    real = np.arange(part.width) < np.array(part.sizes)[:, None]  # [rows width]
    given = {"input_ids": part.pad(ids), "token_type_ids": part.pad(types)}
    return {"attention_mask": real.astype(np.int64)} | {name: one.numpy() for name, one in given.items()}


class Graph(HeadedEncoder):
    """A model whose numbers an engine makes. Its own modules describe it and hold no weights.

    Where it is quantised, its numbers differ between kinds of processors, and a little with what is asked beside a
    sequence, as what is nearly halfway is rounded up or down.
    """

    pass_tokens = 2048  # to choose its rectangles from: up to 4 % faster than 1,024

    def __init__(self, file: Path, engine: type[Engine], stack: spec.Stack, head: spec.Head, purpose: Purpose):
        with torch.device("meta"), Undrawn():
            super().__init__(stack, head)
        self.file, self.engine, self.opening = file, engine, Lock()
        self.sessions: dict[int, Engine] = {}  # by the number of their threads
        session = self.session()
        self.alone = session.alone
        self.bound = 1e-2 if session.quantised else HeadedEncoder.bound  # type: ignore[misc]
        self.wanted = names_of(purpose)[-1:] if purpose == "Model" else names_of(purpose)
        self.inputs, there = session.inputs, session.outputs
        known = {"input_ids", "attention_mask", "token_type_ids"}
        if not {"input_ids", "attention_mask"} <= self.inputs <= known or not there.issuperset(self.wanted):
            raise InputError(
                f"{file}: takes {', '.join(sorted(self.inputs))} and makes {', '.join(sorted(there))}, expected "
                f"input_ids and attention_mask, and {', '.join(self.wanted)}; export it with headwise export"
            )

    def outputs(
        self, ids: Packed, types: Tensor, asked: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """ids [n], types [n], asked [n] -> [b c], [n c], or [m c] of the m positions asked about"""
        pieces, places = [], []
        for part in self.rectangles(ids.lengths):
            made = self.run(part, ids.data, types)
            if part.whole and asked is None:  # such as a single one, whose answer need not wait for what follows
                return torch.from_numpy(made.reshape(-1, made.shape[-1]))
            if self.head.spec.pool is not None:
                pieces.append(made)
                places.append(np.array(part.rows))
            else:
                kept = part.real if asked is None else part.real & asked[part.positions]  # [rows t]
                pieces.append(made[kept.numpy()])
                places.append(part.positions[kept].numpy())
        return torch.from_numpy(np.concatenate(pieces)[np.concatenate(places).argsort()])

    def session(self) -> Engine:
        """One with as many threads as torch has here: passes that are computed at once have a core each."""
        with self.opening:
            threads = torch.get_num_threads()
            if threads not in self.sessions:
                self.sessions[threads] = self.engine(self.file, threads)
            return self.sessions[threads]

    def run(self, part: Rectangle, ids: Tensor, types: Tensor) -> np.ndarray[Any, Any]:
        """ids [n], types [n] -> what the graph makes of a rectangle of them. [rows c] or [rows t c]"""
        feed = feed_of(part, ids, types)
        made = self.session().run(self.wanted, {name: feed[name] for name in self.inputs})
        return made[0] if len(made) == 1 else np.stack(made, -1)

    def rectangles(self, lengths: Lengths) -> Iterator[Rectangle]:
        """Sequences of like length, as many as are to be asked at once: in even parts, as a small rest is slow."""
        for part in lengths.rectangles:
            n = len(part.rows)
            most = 1 if self.alone else max(1, self.engine.tokens // part.width)
            size = -(-n // -(-n // most))
            for start in range(0, n, size):
                yield part if size == n else lengths.rectangle(part.rows[start : start + size])


def engine_of(directory: Path, listed: Collection[str] = ()) -> type[Engine] | None:
    """The engine of the graph that a model directory has in the place of weights, of several that which is listed."""
    if any((directory / name).exists() for name in (ONE_FILE, INDEX)):
        return None
    there = [engine for engine in ENGINES.values() if (directory / engine.graph).exists()]
    return next((engine for engine in there if engine.graph in listed), next(iter(there), None))


def read_graph(directory: Path, engine: type[Engine], purpose: Purpose) -> Checkpoint:
    """A model directory whose weights are in a graph. Raises InputError where the graph is none of this config.json."""
    stack, head = specs(directory, purpose=purpose)
    file, config = directory / engine.graph, read_config(directory)
    model = Graph(file, engine, stack, head, purpose)
    with explained(f"{file}: cannot be asked by {engine.title}", "export it with headwise export"):
        made = model.outputs(Packed.of([torch.zeros(2, dtype=torch.int64)]), torch.zeros(2, dtype=torch.int64))
    expected = head.n_labels or stack.d_model
    if made.shape[-1] != expected:
        raise InputError(
            f"{file}: makes {made.shape[-1]} numbers, config.json {expected} (labels: "
            f"{len(labels_of(config))}); the two do not belong together"
        )
    return Checkpoint(model, config, purpose)
