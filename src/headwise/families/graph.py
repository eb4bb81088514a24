"""ONNX graphs: written from our own modules, and run by ONNX Runtime in their place."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from headwise.core import spec
from headwise.core.packed import Lengths, Packed, Rectangle
from headwise.core.padded import Cells, Padded
from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError
from headwise.families.checkpoint import INDEX, ONE_FILE, Checkpoint, labels_of, read_config, specs
from headwise.families.family import Purpose

GRAPH = "model.onnx"
OUTPUTS: Mapping[Purpose, tuple[str, ...]] = {
    "ForQuestionAnswering": ("start_logits", "end_logits"),
    "Model": ("last_hidden_state", "sentence_embedding"),
}
"""What comes out, as transformers and sentence-transformers call it; elsewhere it is logits."""
LARGE = 2**31 - 2**24  # bytes of weights that no longer fit into one file of protocol buffers
TOKENS = 256  # that a graph is asked at once: what it makes stays in a core's cache, 8 % faster than 1,024
QUANTISER = "onnx.quantize"  # as ONNX Runtime's own signs what it made


def names_of(purpose: Purpose) -> tuple[str, ...]:
    """The outputs of a graph."""
    return OUTPUTS.get(purpose, ("logits",))


class Traced(nn.Module):
    """A model as other runtimes see it: rectangles in, the usual outputs out."""

    def __init__(self, model: HeadedEncoder, purpose: Purpose):
        super().__init__()
        self.model, self.purpose = model, purpose

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """[b t] three times -> logits [b c] or [b t c]; start and end [b t]; states [b t d] and unit vectors [b d]"""
        lengths = Padded(attention_mask.bool())
        types = None if token_type_ids is None else token_type_ids.flatten()
        states = self.model.encoder(Cells(input_ids.flatten(), lengths), types, first=self.model.first_only)
        outputs = self.model.answers(states)
        if self.purpose == "Model":
            return lengths.pad(states.data), nn.functional.normalize(outputs, dim=-1)
        if self.model.head.spec.pool is None:
            outputs = lengths.pad(outputs)
        return tuple(outputs.unbind(-1)) if self.purpose == "ForQuestionAnswering" else (outputs,)


@contextmanager
def needed() -> Iterator[None]:
    """Inside, onnx and onnxruntime are there, and say nothing but what is an error. Raises InputError without them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise InputError(f"this needs {error.name}; install it: pip install 'headwise[onnx]'") from None
    finally:
        logging.disable(before)


def write_graph(file: Path, checkpoint: Checkpoint) -> None:
    """Trace a model into a graph for any number of sequences of any length."""
    model = checkpoint.model.eval()
    inputs = ["input_ids", "attention_mask"]
    if model.encoder.spec.embeddings.n_types > 1:
        inputs.append("token_type_ids")
    size = (2, 3)  # above 1, which a trace would take for a constant; no input may be another's very tensor
    large = sum(weight.numel() * weight.element_size() for weight in model.parameters()) > LARGE
    with needed():
        import onnxscript  # noqa: F401  torch's exporter is written in it

        program = torch.onnx.export(
            Traced(model, checkpoint.purpose).eval(),
            tuple(
                (torch.ones if name == "attention_mask" else torch.zeros)(size, dtype=torch.int64) for name in inputs
            ),
            input_names=inputs,
            output_names=names_of(checkpoint.purpose),
            dynamic_shapes=tuple({0: "batch", 1: "length"} for _ in inputs),
            verbose=False,
        )
        assert program is not None
        program.save(file, external_data=large)


def quantise(file: Path, new: Path) -> None:
    """Weights of matrix products and embeddings in 8 bits, one scale for each column; numbers between are rounded to 8
    bits as they come, with one scale for all of a product's."""
    with needed():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            file,
            new,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=file.stat().st_size > LARGE,
            extra_options={"MatMulConstBOnly": True},
        )


class Graph(HeadedEncoder):
    """A model whose numbers ONNX Runtime makes. Its own modules describe it and hold no weights.

    Where it is quantised, what a sequence gets would depend on those beside it, as they share one scale: there each is
    asked alone. Its numbers differ between kinds of processors, as what is nearly halfway is rounded up or down.
    """

    def __init__(self, file: Path, stack: spec.Stack, head: spec.Head, purpose: Purpose):
        with torch.device("meta"):
            super().__init__(stack, head)
        self.file, self.opening = file, Lock()
        self.sessions: dict[int, Any] = {}  # by the number of their threads
        session = self.session()
        self.quantised = session.get_modelmeta().producer_name == QUANTISER
        self.bound = 1e-2 if self.quantised else HeadedEncoder.bound  # type: ignore[misc]
        self.wanted = names_of(purpose)[-1:] if purpose == "Model" else names_of(purpose)
        self.inputs = {one.name for one in session.get_inputs()}
        there = {one.name for one in session.get_outputs()}
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
            if self.head.spec.pool is not None:
                pieces.append(made)
                places.append(torch.tensor(part.rows))
            else:
                kept = part.real if asked is None else part.real & asked[part.positions]  # [rows t]
                pieces.append(made[kept])
                places.append(part.positions[kept])
        return torch.cat(pieces)[torch.cat(places).argsort()]

    def session(self) -> Any:
        """One with as many threads as torch has here: passes that are computed at once have a core each."""
        with self.opening:
            threads = torch.get_num_threads()
            if threads not in self.sessions:
                self.sessions[threads] = opened(self.file, threads)
            return self.sessions[threads]

    def run(self, part: Rectangle, ids: Tensor, types: Tensor) -> Tensor:
        """ids [n], types [n] -> what the graph makes of a rectangle of them. [rows c] or [rows t c]"""
        given = {"input_ids": part.pad(ids), "attention_mask": part.real.long(), "token_type_ids": part.pad(types)}
        feed = {name: given[name].numpy() for name in self.inputs}
        made = [torch.from_numpy(one) for one in self.session().run(list(self.wanted), feed)]
        return made[0] if len(made) == 1 else torch.stack(made, -1)

    def rectangles(self, lengths: Lengths) -> Iterator[Rectangle]:
        """Sequences of like length, as many as are to be asked at once."""
        for part in lengths.rectangles:
            most = 1 if self.quantised else max(1, TOKENS // part.width)
            for start in range(0, len(part.rows), most):
                yield lengths.rectangle(part.rows[start : start + most])


def opened(file: Path, threads: int) -> Any:
    """A session of ONNX Runtime with so many threads."""
    with needed():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        said = str(error).split("\n", 1)[0][:200]
        raise InputError(f"{file}: cannot be opened by ONNX Runtime ({said}); take a whole copy") from None


def is_graph(directory: Path) -> bool:
    """Whether a model directory has a graph in the place of weights."""
    return (directory / GRAPH).exists() and not any((directory / name).exists() for name in (ONE_FILE, INDEX))


def read_graph(directory: Path, purpose: Purpose) -> Checkpoint:
    """A model directory whose weights are in a graph. Raises InputError where the graph is none of this config.json."""
    stack, head = specs(directory, purpose=purpose)
    model, config = Graph(directory / GRAPH, stack, head, purpose), read_config(directory)
    made = model.outputs(Packed.of([torch.zeros(2, dtype=torch.int64)]), torch.zeros(2, dtype=torch.int64))
    expected = head.n_labels or stack.d_model
    if made.shape[-1] != expected:
        raise InputError(
            f"{directory / GRAPH}: makes {made.shape[-1]} numbers, config.json {expected} (labels: "
            f"{len(labels_of(config))}); the two do not belong together"
        )
    return Checkpoint(model, config, purpose)
