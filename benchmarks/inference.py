"""Inference speed beside other engines: real tokens a second, in turn, on the same model, texts and threads.

    python benchmarks/inference.py RUN TABLE [--exported DIR …] [--against onnx …] [--rounds 5] [--plot FILE]

RUN is a run that classifies single texts, TABLE has columns text and label. Texts are tokenized beforehand and sorted
by length. Each engine gets batches of as many texts as make it fastest here, found by a try of each size before the
rounds, padded to their longest text; headwise packs them. Each round asks every engine all texts once, then some short
ones, one at a time. Prints tokens a second, the median over the rounds of headwise's rate, and of the fastest of ours,
divided by the other's in the same round with the smallest and largest, the accuracy, and the milliseconds of one short
text.

    headwise, headwise-bf16    as `headwise predict` computes, and with --precision bfloat16
    headwise-NAME              what `headwise export RUN --out NAME` wrote, which must be given as --exported
    transformers, -bf16        the model as AutoModelForSequenceClassification loads it, sdpa
    onnx, onnx-int8            ONNX Runtime: traced by torch, fused by its transformers optimizer; quantized dynamically
    openvino, -fp32, -int8     OpenVINO: as it chooses the precision itself, in float32, quantized by NNCF on 300 texts
                               of --calibrate; with its hints for latency and for throughput, whichever is faster
    ctranslate2, -int8         CTranslate2, where it has the model's family
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measures import draw, most_products, operations
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as chatter

from headwise.model import Model, load
from headwise.reading.batches import Examples
from headwise.reading.tables import read
from headwise.reading.text import Tokens
from headwise.training.inference import predicted

SIZES = 1, 4, 8, 16, 32, 64  # of batches that are tried
TRIED = 256  # texts of a try
CALIBRATED = 300
SHORT = 100  # the shortest texts, asked one at a time
Batch = dict[str, np.ndarray]  # input_ids, attention_mask, token_type_ids, each [b t]
Ask = Callable[[list[Batch]], list[np.ndarray]]  # logits [b c] of each batch
AGAINST = ("transformers", "transformers-bf16", "onnx", "onnx-int8", "openvino", "openvino-fp32", "openvino-int8")


@dataclass
class Engine:
    """One that is measured, and what came of it, round by round."""

    name: str
    ask: Callable[[list[Sequence[int]]], np.ndarray]  # token ids of texts -> logits [b c]
    how: str = ""
    rates: list[float] = field(default_factory=list)
    short: list[float] = field(default_factory=list)
    logits: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def round(self, texts: list[Sequence[int]]) -> None:
        """All texts once, then the short ones."""
        began = time.perf_counter()
        self.logits = self.ask(texts)
        self.rates.append(sum(map(len, texts)) / (time.perf_counter() - began))
        taken = []
        for text in texts[:SHORT]:
            began = time.perf_counter()
            self.ask([text])
            taken.append(time.perf_counter() - began)
        self.short.append(1000 * float(np.median(taken)))


def of_headwise(name: str, model: Model) -> Engine:
    """The way of predict, from tokens on."""

    def ask(texts: list[Sequence[int]]) -> np.ndarray:
        ids = np.concatenate([np.asarray(text) for text in texts]).astype(np.int32)
        lengths = np.array([len(text) for text in texts])
        tokens = Tokens(ids, np.zeros(len(ids), np.int8), lengths, np.zeros(len(texts), np.int64), None)
        return predicted(model.checkpoint.model, model.task, Examples(tokens), None, model.precision)[0].numpy()

    return Engine(name, ask)


def padded(texts: Sequence[Sequence[int]], pad: int) -> Batch:
    """A rectangle of them."""
    ids = np.full((len(texts), max(map(len, texts))), pad, np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    mask = (np.arange(ids.shape[1]) < np.array([[len(text)] for text in texts])).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def in_batches(ask: Ask, size: int, pad: int, texts: list[Sequence[int]]) -> np.ndarray:
    """The logits of texts, asked in batches of a size."""
    return np.concatenate(ask([padded(texts[at : at + size], pad) for at in range(0, len(texts), size)]))


def fastest(name: str, ways: dict[str, Ask], pad: int, texts: list[Sequence[int]]) -> Engine:
    """An engine in the way, and with the size of batches, in which it answers some texts soonest."""
    found = {}
    some = texts[:: max(1, len(texts) // TRIED)]
    for way, ask in ways.items():
        for size in SIZES:
            in_batches(ask, size, pad, some[:: len(some) // 16])  # warm
            began = time.perf_counter()
            in_batches(ask, size, pad, some)
            found[way, size] = time.perf_counter() - began
    way, size = min(found, key=found.__getitem__)
    return Engine(name, partial(in_batches, ways[way], size, pad), f"batches of {size}{way and ', ' + way}")


def traced(run: Path, place: Path) -> Path:
    """A graph of the model, fused by ONNX Runtime's own optimizer."""
    from onnxruntime.transformers.optimizer import optimize_model

    model = AutoModelForSequenceClassification.from_pretrained(run, attn_implementation="eager").eval()
    names = inputs_of(model)
    axes = {name: {0: "b", 1: "t"} for name in names} | {"logits": {0: "b"}}
    example = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Named(model, names), example, str(place / "traced.onnx"), input_names=list(names), output_names=["logits"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    heads, width = model.config.num_attention_heads, model.config.hidden_size
    fused = optimize_model(str(place / "traced.onnx"), "bert", num_heads=heads, hidden_size=width)
    print(f"onnx: {fused.get_fused_operator_statistics()}", flush=True)
    fused.save_model_to_file(str(place / "fused.onnx"))
    return place / "fused.onnx"


def inputs_of(model: torch.nn.Module) -> tuple[str, ...]:
    """What it reads."""
    types = getattr(model.config, "type_vocab_size", 0) > 1
    return ("input_ids", "attention_mask", *["token_type_ids"] * types)


class Named(torch.nn.Module):
    """A model that takes what it reads in order, and gives logits only."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, given, strict=True))).logits


def of_onnx(run: Path, place: Path, int8: bool, threads: int) -> dict[str, Ask]:
    """ONNX Runtime."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    file = traced(run, place)
    if int8:
        more = {"DefaultTensorType": onnx.TensorProto.FLOAT}  # fused operators do not tell the types of what they make
        quantize_dynamic(file, place / "int8.onnx", per_channel=True, extra_options=more)
        file = place / "int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def ask(batches: list[Batch]) -> list[np.ndarray]:
        return [session.run(["logits"], {name: batch[name] for name in names})[0] for batch in batches]

    return {"": ask}


def of_transformers(run: Path, dtype: torch.dtype) -> dict[str, Ask]:
    """PyTorch by the usual modules."""
    model = AutoModelForSequenceClassification.from_pretrained(run, dtype=dtype).eval()
    names = inputs_of(model)

    @torch.inference_mode()
    def ask(batches: list[Batch]) -> list[np.ndarray]:
        found = (model(**{name: torch.from_numpy(batch[name]) for name in names}).logits for batch in batches)
        return [one.float().numpy() for one in found]

    return {"": ask}


def of_openvino(run: Path, how: str, threads: int, calibration: list[Batch]) -> dict[str, Ask]:
    """OpenVINO: one request at a time on all threads, and several at once."""
    import openvino

    model = AutoModelForSequenceClassification.from_pretrained(run, attn_implementation="sdpa").eval()
    names = inputs_of(model)
    example = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in names)
    shape = openvino.PartialShape([-1, -1])
    graph = openvino.convert_model(Named(model, names), example_input=example, input=[shape] * len(names))
    if how == "int8":
        import nncf

        rows = nncf.Dataset(calibration, lambda batch: tuple(batch[name] for name in names))
        graph = nncf.quantize(graph, rows, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))
    settings = {"INFERENCE_NUM_THREADS": threads}
    if how == "fp32":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    ways = {}
    for hint in ("LATENCY", "THROUGHPUT"):
        compiled = openvino.Core().compile_model(graph, "CPU", settings | {"PERFORMANCE_HINT": hint})
        ways[f"{hint.lower()}, {compiled.get_property('INFERENCE_PRECISION_HINT').to_string()}"] = partial(
            asked_at_once, openvino.AsyncInferQueue(compiled), names
        )
    return ways


def asked_at_once(queue: object, names: Sequence[str], batches: list[Batch]) -> list[np.ndarray]:
    """Batches given to OpenVINO's queue, as many at once as it takes."""
    found: list[np.ndarray] = [np.zeros(0)] * len(batches)

    def keep(request: object, at: int) -> None:
        found[at] = request.get_output_tensor(0).data.copy()

    queue.set_callback(keep)
    for at, batch in enumerate(batches):
        queue.start_async([batch[name] for name in names], at)
    queue.wait_all()
    return found


def of_ctranslate2(run: Path, place: Path, how: str, threads: int) -> dict[str, Ask]:
    """CTranslate2 runs the encoder and its pooling; the last layer is a product more."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(run)).convert(str(place / "ct2"), force=True)
    encoder = ctranslate2.Encoder(str(place / "ct2"), compute_type=how, intra_threads=threads)
    last = AutoModelForSequenceClassification.from_pretrained(run).classifier
    weight, bias = last.weight.detach().numpy(), last.bias.detach().numpy()

    def ask(batches: list[Batch]) -> list[np.ndarray]:
        found = []
        for batch in batches:
            lengths = batch["attention_mask"].sum(1).tolist()
            ids = [row[:n].tolist() for row, n in zip(batch["input_ids"], lengths, strict=True)]
            made = encoder.forward_batch(ids, token_type_ids=[[0] * n for n in lengths])
            found.append(np.array(made.pooler_output) @ weight.T + bias)
        return found

    return {"": ask}


def others(
    given: argparse.Namespace, texts: list[Sequence[int]], calibrate: list[Sequence[int]], pad: int, place: Path
) -> Iterator[Engine]:
    """The engines asked for that can be had here."""
    batches = [padded([text], pad) for text in calibrate]
    ways: dict[str, Callable[[], dict[str, Ask]]] = {
        "transformers": lambda: of_transformers(given.run, torch.float32),
        "transformers-bf16": lambda: of_transformers(given.run, torch.bfloat16),
        "onnx": lambda: of_onnx(given.run, place, False, given.threads),
        "onnx-int8": lambda: of_onnx(given.run, place, True, given.threads),
        "openvino": lambda: of_openvino(given.run, "", given.threads, batches),
        "openvino-fp32": lambda: of_openvino(given.run, "fp32", given.threads, batches),
        "openvino-int8": lambda: of_openvino(given.run, "int8", given.threads, batches),
        "ctranslate2": lambda: of_ctranslate2(given.run, place, "float32", given.threads),
        "ctranslate2-int8": lambda: of_ctranslate2(given.run, place, "int8", given.threads),
    }
    for name in given.against:
        try:
            yield fastest(name, ways[name](), pad, texts)
        except Exception as error:
            print(
                f"{name}: cannot be had here ({type(error).__name__}: {str(error).splitlines()[0][:100]})", flush=True
            )


def ours(given: argparse.Namespace) -> Iterator[Engine]:
    """headwise, in every precision."""
    yield of_headwise("headwise", load(given.run))
    yield of_headwise("headwise-bf16", load(given.run, "bfloat16"))
    for directory in given.exported:
        yield of_headwise(f"headwise-{directory.name}", load(directory))


def ids_of(model: Model, table: Path, most: int) -> tuple[list[Sequence[int]], np.ndarray]:
    """Token ids and labels of some rows, the shortest first."""
    columns = read(table).table
    rows = np.random.default_rng(0).permutation(len(columns))[:most]
    texts, labels = (np.array(columns[name].to_pylist(), object)[rows] for name in ("text", "label"))
    tokens = model.task.examples(model.tokenizer, texts.tolist()).tokens
    order = np.argsort(tokens.lengths, kind="stable")
    cut = np.split(tokens.ids, tokens.lengths.cumsum()[:-1])
    return [cut[row].tolist() for row in order], labels[order].astype(str)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--exported", type=Path, nargs="*", default=[], help="what headwise export wrote")
    parser.add_argument("--calibrate", type=Path, help="rows for OpenVINO's int8, not those of TABLE")
    parser.add_argument("--against", nargs="*", default=list(AGAINST))
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="picture to write")
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    torch.set_num_threads(given.threads)
    model = load(given.run)
    texts, labels = ids_of(model, given.table, given.texts)
    calibrate = ids_of(model, given.calibrate, CALIBRATED)[0] if given.calibrate else []
    pad = AutoModelForSequenceClassification.from_pretrained(given.run).config.pad_token_id or 0
    with tempfile.TemporaryDirectory() as place:
        found = [*ours(given), *others(given, texts, calibrate, pad, Path(place))]
        for number in range(given.rounds + 1):
            for engine in found:
                engine.round(texts)
                if number == 0:  # warm
                    engine.rates, engine.short = [], []
    products = most_products()
    peak = max(products.values())
    lengths = [len(text) for text in texts]
    print(f"{len(texts):,} texts of {np.mean(lengths):.0f} tokens ({min(lengths)} to {max(lengths)})")
    print(f"{given.rounds} rounds, {given.threads} threads, {platform.machine()}, torch {torch.__version__}")
    print(f"products of 2048 rows, GFLOP/s: {', '.join(f'{name} {one / 1e9:,.0f}' for name, one in products.items())}")
    encoder = model.weights.encoder
    shares = {ours: operations(encoder, lengths, ours) / sum(lengths) / peak for ours in (True, False)}
    tell(found, model.labels, labels, shares)
    if given.plot is not None:
        draw({engine.name: engine.rates for engine in found}, given.plot)


def tell(found: list[Engine], names: Sequence[str], labels: np.ndarray, shares: Mapping[bool, float]) -> None:
    """The table. shares: of the best rate of products, that a token a second takes with headwise and with others."""
    mine = [one for one in found if one.name.startswith("headwise")]
    best = max(mine, key=lambda one: np.median(one.rates))
    beside = [mine[0]] if best is mine[0] else [mine[0], best]
    heads = " | ".join(f"{one.name} is faster by" for one in beside)
    print(f"\n| engine | tokens/s | of the rate | {heads} | accuracy | same labels | one short text |")
    print("|---|---|---|---|---|---|---|---|")
    first = found[0].logits.argmax(1)
    for engine in found:
        answers, rates = engine.logits.argmax(1), np.array(engine.rates)
        right = np.mean(np.array(names, object)[answers].astype(str) == labels)
        ratios = [np.array(one.rates) / rates for one in beside]
        share = float(np.median(rates)) * shares[engine.name.startswith("headwise")]
        told = " | ".join(f"{np.median(one):.2f} ({one.min():.2f} to {one.max():.2f})" for one in ratios)
        print(
            f"| {engine.name}{engine.how and ', ' + engine.how} | {np.median(rates):,.0f} | "
            f"{share:.0%} | {told} | {right:.4f} | {np.mean(answers == first):.1%} | "
            f"{np.median(engine.short):.2f} ms |"
        )


if __name__ == "__main__":
    main()
