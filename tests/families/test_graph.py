"""Exported graphs: ONNX Runtime makes of padded rectangles what we make of packed sequences."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from headwise.core.packed import Packed
from headwise.errors import InputError
from headwise.families.averaging import averaged
from headwise.families.checkpoint import read_model, write_config
from headwise.families.graph import GRAPH, QUANTISER, Graph, is_graph, quantise, read_graph, write_graph
from headwise.training.inference import pass_by_pass

LENGTHS = [(1,), (30,), (1, 7, 30, 29, 12)]
ONE_TYPE = {"Roberta", "XLMRoberta", "Camembert"}
HEADS = {
    "ForSequenceClassification": ("a", "b", "c"),
    "ForTokenClassification": ("O", "B-LOC", "I-LOC"),
    "ForQuestionAnswering": ("start", "end"),
    "ForMaskedLM": (),
    "Model": (),
}
CASES = [
    *((family, "ForSequenceClassification") for family in ("Bert", *sorted(ONE_TYPE), "DistilBert", "Electra")),
    *((family, head) for family in ("Bert", "ModernBert") for head in HEADS if (family, head[3:4]) != ("Bert", "S")),
]


@pytest.fixture
def exported(tiny, tmp_path):
    """A tiny model of a family, and the same as a graph."""

    def make(family, purpose, change=lambda checkpoint: checkpoint):
        labels = HEADS[purpose]
        more = {"type_vocab_size": 1} if family in ONE_TYPE else {}
        tiny(family, purpose, num_labels=len(labels) or 2, **more).save_pretrained(tmp_path / "run")
        ours = change(read_model(tmp_path / "run", None if labels else 0, purpose))
        (tmp_path / "onnx").mkdir()
        write_config(tmp_path / "onnx", ours, labels)
        write_graph(tmp_path / "onnx" / GRAPH, ours)
        return ours.model, read_graph(tmp_path / "onnx", purpose).model

    return make


def unit(outputs, purpose):
    return torch.nn.functional.normalize(outputs, dim=-1) if purpose == "Model" else outputs


@torch.inference_mode()
@pytest.mark.parametrize(("family", "purpose"), CASES)
def test_a_graph_makes_the_same_numbers(family, purpose, exported, ragged, difference, tmp_path):
    ours, graph = exported(family, purpose)
    for lengths in LENGTHS:
        ids, padded = ragged(lengths)
        types = (ids.lengths.positions > 3).long() * (ours.encoder.spec.embeddings.n_types > 1)
        wanted = unit(ours.outputs(ids, types), purpose)
        assert difference(graph.outputs(ids, types), wanted) < 1e-5
        if ours.head.spec.pool is None:
            asked = ids.lengths.positions % 3 == 0
            assert difference(graph.outputs(ids, types, asked), ours.outputs(ids, types, asked)) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / GRAPH)  # without us: all in one rectangle
    given = {name: array.numpy() for name, array in padded.items()} | {
        "token_type_ids": torch.nn.utils.rnn.pad_sequence(list(ids.with_data(types).unpack()), True).numpy()
    }
    made = session.run(list(graph.wanted), {one.name: given[one.name] for one in session.get_inputs()})
    plain = torch.from_numpy(made[0] if len(made) == 1 else np.stack(made, -1))
    if ours.head.spec.pool is None:
        plain = plain[padded["attention_mask"].bool()]
    assert difference(plain, wanted) < 1e-5
    if purpose == "Model":
        (states,) = session.run(["last_hidden_state"], {one.name: given[one.name] for one in session.get_inputs()})
        whole = torch.from_numpy(states)[padded["attention_mask"].bool()]
        assert difference(whole, ours.states(ids, types).data) < 1e-5


@torch.inference_mode()
def test_a_head_that_reads_means_is_exported(exported, ragged, difference):
    ours, graph = exported("Bert", "ForSequenceClassification", averaged)
    ids, _ = ragged()
    types = torch.zeros_like(ids.data)
    assert difference(graph.outputs(ids, types), ours.outputs(ids, types)) < 1e-5


@torch.inference_mode()
def test_in_8_bits_an_answer_does_not_depend_on_its_neighbours(exported, ragged, tmp_path):
    ours, graph = exported("Bert", "ForSequenceClassification")
    quantise(tmp_path / "onnx" / GRAPH, tmp_path / "eight.onnx")
    eight = Graph(tmp_path / "eight.onnx", ours.encoder.spec, ours.head.spec, "ForSequenceClassification")
    assert eight.quantised and eight.session().get_modelmeta().producer_name == QUANTISER
    assert not graph.quantised and eight.bound > graph.bound
    assert (tmp_path / "eight.onnx").stat().st_size < (tmp_path / "onnx" / GRAPH).stat().st_size
    ids, _ = ragged()
    types = torch.zeros_like(ids.data)
    alone = [eight.outputs(Packed.of([row]), torch.zeros_like(row)) for row in ids.unpack()]
    assert torch.equal(eight.outputs(ids, types), torch.cat(alone))
    assert torch.equal(torch.cat(alone).argmax(-1), ours.outputs(ids, types).argmax(-1))


def test_a_damaged_or_foreign_graph_is_refused(exported, tiny, tmp_path):
    exported("Bert", "ForSequenceClassification")
    assert is_graph(tmp_path / "onnx") and not is_graph(tmp_path / "run")
    with pytest.raises(InputError, match="makes logits, expected input_ids and attention_mask, and start_logits"):
        read_graph(tmp_path / "onnx", "ForQuestionAnswering")
    config = tmp_path / "onnx" / "config.json"
    config.write_text(config.read_text().replace('"2": "c"', '"2": "c", "3": "d"'))
    with pytest.raises(InputError, match=r"makes 3 numbers, config\.json 4 .* do not belong together"):
        read_graph(tmp_path / "onnx", "ForSequenceClassification")
    (tmp_path / "onnx" / GRAPH).write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"model\.onnx: cannot be opened by ONNX Runtime"):
        read_graph(tmp_path / "onnx", "ForSequenceClassification")


def test_without_onnxruntime_it_says_what_to_install(exported, tmp_path, monkeypatch):
    exported("Bert", "ForSequenceClassification")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"this needs onnxruntime; install it: pip install 'headwise\[onnx\]'"):
        read_graph(tmp_path / "onnx", "ForSequenceClassification")


def test_passes_at_once_are_asked_with_a_core_each(exported, ragged):
    torch.set_num_threads(2)
    try:
        ours, graph = exported("Bert", "ForSequenceClassification")
        ids, _ = ragged((5, 7, 9, 11))
        parts = [Packed.of([part]) for part in ids.unpack()]
        assert set(graph.sessions) == {2}
        found = torch.cat(list(pass_by_pass(lambda part: graph.outputs(part, torch.zeros_like(part.data)), parts)))
    finally:
        torch.set_num_threads(1)
    assert set(graph.sessions) == {2, 1}
    with torch.inference_mode():
        assert torch.allclose(found, ours.outputs(ids, torch.zeros_like(ids.data)), atol=1e-5)
