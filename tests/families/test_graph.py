"""Exported graphs: an engine makes of padded rectangles what we make of packed sequences."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from headwise.core.packed import Lengths, Packed
from headwise.errors import InputError
from headwise.families import engines
from headwise.families.averaging import averaged
from headwise.families.checkpoint import read_model, write_config
from headwise.families.engines import ENGINES
from headwise.families.graph import engine_of, feed_of, read_graph
from headwise.training.cores import each_on_a_core

LENGTHS = [(1,), (30,), (7, 7, 7), (1, 7, 30, 29, 12)]
ONE_TYPE = {"Roberta", "XLMRoberta", "Camembert"}
HEADS = {
    "ForSequenceClassification": ("a", "b", "c"),
    "ForTokenClassification": ("O", "B-LOC", "I-LOC"),
    "ForQuestionAnswering": ("start", "end"),
    "ForMaskedLM": (),
    "Model": (),
}
ORT, OPENVINO = ENGINES["onnxruntime"], ENGINES["openvino"]
CASES = [
    *((ORT, family, "ForSequenceClassification") for family in ("Bert", *sorted(ONE_TYPE), "DistilBert", "Electra")),
    *((ORT, "Bert", head) for head in HEADS if head != "ForSequenceClassification"),
    *((ORT, "ModernBert", head) for head in HEADS),
    *((OPENVINO, "Bert", head) for head in ("ForSequenceClassification", "ForQuestionAnswering")),
    *((OPENVINO, "ModernBert", head) for head in ("ForTokenClassification", "Model")),
]


LAYERS = {  # as few as show what there is: tracing takes as long as they are many
    "DistilBert": {"n_layers": 2},
    "ModernBert": {"num_hidden_layers": 3, "global_attn_every_n_layers": 2},  # all, near, all
}


@pytest.fixture
def exported(tiny, traced_once, tmp_path):
    """A tiny model of a family, and the same as a graph in the folder graph."""

    def make(family, purpose, change=lambda checkpoint: checkpoint, engine=ORT):
        labels = HEADS[purpose]
        more = LAYERS.get(family, {"num_hidden_layers": 2}) | ({"type_vocab_size": 1} if family in ONE_TYPE else {})
        tiny(family, purpose, num_labels=len(labels) or 2, **more).save_pretrained(tmp_path / "run")
        ours = change(read_model(tmp_path / "run", None if labels else 0, purpose))
        (tmp_path / "graph").mkdir()
        write_config(tmp_path / "graph", ours, labels)
        traced_once(tmp_path / "graph", ours, engine)
        return ours.model, read_graph(tmp_path / "graph", engine, purpose).model

    return make


def unit(outputs, purpose):
    return torch.nn.functional.normalize(outputs, dim=-1) if purpose == "Model" else outputs


@torch.inference_mode()
@pytest.mark.parametrize(("engine", "family", "purpose"), CASES)
def test_a_graph_makes_the_same_numbers(engine, family, purpose, exported, ragged, difference, tmp_path):
    ours, graph = exported(family, purpose, engine=engine)
    for lengths in LENGTHS:
        ids, padded = ragged(lengths)
        types = (ids.lengths.positions > 3).long() * (ours.encoder.spec.embeddings.n_types > 1)
        wanted = unit(ours.outputs(ids, types), purpose)
        assert difference(graph.outputs(ids, types), wanted) < 1e-5
        if ours.head.spec.pool is None:
            asked = ids.lengths.positions % 3 == 0
            assert difference(graph.outputs(ids, types, asked), ours.outputs(ids, types, asked)) < 1e-5
    session = engine(graph.file, 1)  # all in one rectangle
    given = {name: array.numpy() for name, array in padded.items()} | {
        "token_type_ids": torch.nn.utils.rnn.pad_sequence(list(ids.with_data(types).unpack()), True).numpy()
    }
    given = {name: given[name] for name in session.inputs}
    made = session.run(graph.wanted, given)
    plain = torch.from_numpy(made[0] if len(made) == 1 else np.stack(made, -1))
    if ours.head.spec.pool is None:
        plain = plain[padded["attention_mask"].bool()]
    assert difference(plain, wanted) < 1e-5
    if purpose == "Model":
        (states,) = session.run(["last_hidden_state"], given)
        whole = torch.from_numpy(states)[padded["attention_mask"].bool()]
        assert difference(whole, ours.states(ids, types).data) < 1e-5


def test_many_sequences_are_asked_in_even_parts(exported):
    _, graph = exported("Bert", "ForSequenceClassification")
    parts = [part.rows for part in graph.rectangles(Lengths((30,) * 17))]
    assert [len(rows) for rows in parts] == [6, 6, 5], "of 256 tokens, which are 8 sequences, at most"
    assert sorted(row for rows in parts for row in rows) == list(range(17))


@pytest.mark.parametrize("engine", ENGINES.values())
def test_a_graph_tells_nothing_of_the_machine_it_was_made_on(engine, exported):
    _, graph = exported("Bert", "ForSequenceClassification", engine=engine)
    for file in graph.file.parent.glob("*model.*"):
        assert b".py" not in file.read_bytes()


@torch.inference_mode()
def test_a_head_that_reads_means_is_exported(exported, ragged, difference):
    ours, graph = exported("Bert", "ForSequenceClassification", averaged)
    ids, _ = ragged()
    types = torch.zeros_like(ids.data)
    assert difference(graph.outputs(ids, types), ours.outputs(ids, types)) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("engine", ENGINES.values())
def test_in_8_bits_an_answer_does_not_depend_on_its_neighbours(engine, exported, ragged, difference, tmp_path):
    ours, graph = exported("Bert", "ForSequenceClassification", engine=engine)
    ids, _ = ragged()
    types = torch.zeros_like(ids.data)
    weights = next(graph.file.parent.glob("*.bin"), graph.file)
    size = weights.stat().st_size
    engine.quantise(graph.file, [feed_of(part, ids.data, types) for part in ids.lengths.rectangles])
    eight = read_graph(tmp_path / "graph", engine, "ForSequenceClassification").model
    assert eight.session().quantised and not graph.session().quantised and eight.bound > graph.bound
    assert weights.stat().st_size < size
    alone = torch.cat([eight.outputs(Packed.of([row]), torch.zeros_like(row)) for row in ids.unpack()])
    assert difference(eight.outputs(ids, types), alone) < (eight.bound if engine.calibrated else 1e-9)
    assert torch.equal(alone.argmax(-1), ours.outputs(ids, types).argmax(-1))


@pytest.mark.parametrize("engine", ENGINES.values())
def test_a_damaged_or_foreign_graph_is_refused(engine, exported, tmp_path):
    exported("Bert", "ForSequenceClassification", engine=engine)
    place = tmp_path / "graph"
    assert engine_of(place) is engine and engine_of(tmp_path / "run") is None
    with pytest.raises(InputError, match="makes logits, expected input_ids and attention_mask, and start_logits"):
        read_graph(place, engine, "ForQuestionAnswering")
    config = place / "config.json"
    config.write_text(config.read_text().replace('"2": "c"', '"2": "c", "3": "d"'))
    with pytest.raises(InputError, match=r"makes 3 numbers, config\.json 4 .* do not belong together"):
        read_graph(place, engine, "ForSequenceClassification")
    (place / engine.graph).write_bytes(b"no graph")
    with pytest.raises(InputError, match=rf"{engine.graph}: cannot be opened by {engine.title} \("):
        read_graph(place, engine, "ForSequenceClassification")


@pytest.mark.parametrize(("package", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_without_its_engine_it_says_what_to_install(package, extra, exported, tmp_path, monkeypatch):
    exported("Bert", "ForSequenceClassification", engine=ENGINES[package])
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(engines, "core", engines.core.__wrapped__)  # as in a new process
    with pytest.raises(InputError, match=rf"this needs {package}; install it: pip install 'headwise\[{extra}\]'"):
        read_graph(tmp_path / "graph", ENGINES[package], "ForSequenceClassification")


OVERLAPPING = """
import signal, sys
from pathlib import Path
from headwise.families.engines import OpenVino

signal.signal(signal.SIGTERM, lambda *_: print("borne"))
first, second = (OpenVino(Path(sys.argv[1]), 1) for _ in range(2))
del first
del second
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_is_borne_after_graphs_that_overlapped(exported):
    _, graph = exported("Bert", "ForSequenceClassification", engine=OPENVINO)
    said = subprocess.run([sys.executable, "-c", OVERLAPPING, graph.file], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "borne\n")


@pytest.mark.parametrize("engine", ENGINES.values())
def test_passes_at_once_are_asked_with_a_core_each(engine, exported, ragged):
    torch.set_num_threads(2)
    try:
        ours, graph = exported("Bert", "ForSequenceClassification", engine=engine)
        ids, _ = ragged((5, 7, 9, 11))
        parts = [Packed.of([part]) for part in ids.unpack()]
        assert set(graph.sessions) == {2}
        found = torch.cat(list(each_on_a_core(lambda part: graph.outputs(part, torch.zeros_like(part.data)), parts)))
    finally:
        torch.set_num_threads(1)
    assert set(graph.sessions) == {2, 1}
    with torch.inference_mode():
        assert torch.allclose(found, ours.outputs(ids, torch.zeros_like(ids.data)), atol=1e-5)
