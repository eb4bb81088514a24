"""Heads for tokens, for spans, and none: ours computes what transformers computes, and writes what it opens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers

from headwise.core import spec
from headwise.families import FAMILIES as FAMILIES_OF
from headwise.families.checkpoint import read_model, write_model

FAMILIES = {
    "Bert": {},
    "Roberta": {"type_vocab_size": 1},
    "XLMRoberta": {"type_vocab_size": 1},
    "Camembert": {"type_vocab_size": 1},
    "DistilBert": {},
    "Electra": {},
    "ModernBert": {},
}
LABELS = {
    "ForTokenClassification": ("O", "B-LOC", "I-LOC"),
    "ForQuestionAnswering": ("start", "end"),
    "ForMaskedLM": (),
    "Model": (),
}


def theirs_of(model, padded, ids, purpose):
    """Their numbers for every position [n c], or the mean of their states [b d]."""
    found = model(**padded)
    if purpose == "Model":
        states = found.last_hidden_state
        return torch.stack([row[:length].mean(0) for row, length in zip(states, ids.lengths.each, strict=True)])
    logits = torch.stack([found.start_logits, found.end_logits], -1) if "Question" in purpose else found.logits
    return torch.cat([row[:length] for row, length in zip(logits, ids.lengths.each, strict=True)])


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_in_bfloat16_states_are_added_up_in_float32(family, tiny, ragged, difference, tmp_path):
    """ELECTRA's narrow embeddings are widened by a product, whose bfloat16 must not become that of everything after."""
    tiny(family, **FAMILIES[family]).save_pretrained(tmp_path)
    model, (ids, _) = read_model(tmp_path, None).model.eval(), ragged()
    types = torch.zeros_like(ids.data)
    assert model.states(ids, types, torch.bfloat16).data.dtype == torch.float32
    assert difference(model.outputs(ids, types, None, torch.bfloat16), model.outputs(ids, types)) < 0.1


@pytest.mark.parametrize("purpose", LABELS)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_head_is_theirs_there_and_back(family, purpose, tiny, ragged, difference, tmp_path):
    labels = LABELS[purpose]
    peer = tiny(family, purpose, num_labels=len(labels) or 2, **FAMILIES[family])
    ids, padded = ragged(pad=peer.config.pad_token_id)
    peer.save_pretrained(tmp_path / "theirs")
    ours = read_model(tmp_path / "theirs", None if labels else 0, purpose)
    wanted = theirs_of(peer, padded, ids, purpose)
    assert difference(ours.model.eval()(ids), wanted) < 1e-5
    (tmp_path / "ours").mkdir()
    write_model(tmp_path / "ours", ours, labels)
    again, told = getattr(
        transformers, f"Auto{purpose}" if purpose == "Model" else f"AutoModel{purpose}"
    ).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert {name for name in told["missing_keys"] if "pooler" not in name} == set()
    assert difference(theirs_of(again.eval(), padded, ids, purpose), wanted) < 1e-5
    assert read_model(tmp_path / "ours", None if labels else 0, purpose).labels == labels


@pytest.mark.parametrize("purpose", LABELS)
def test_another_head_is_left_out_and_said(purpose, tiny, tmp_path):
    tiny(
        "Bert", "ForQuestionAnswering" if purpose != "ForQuestionAnswering" else "ForTokenClassification"
    ).save_pretrained(tmp_path)
    read = read_model(tmp_path, 4, purpose)
    assert any("not needed for this task" in note for note in read.notes)
    assert any("drawn anew" in note for note in read.notes) == (purpose != "Model")


@torch.no_grad()
@pytest.mark.parametrize(
    ("draws", "change"),
    [({}, {"activation": "gelu_tanh"}), ({"std": 0.03, "norms": 0.05}, {"norm": spec.Norm(eps=1e-5)})],
)
def test_a_wrong_head_for_masks_fails_parity(draws, change, tiny, ragged, difference, tmp_path, monkeypatch):
    peer = tiny("Bert", "ForMaskedLM", **draws)
    ids, padded = ragged(pad=peer.config.pad_token_id)
    peer.save_pretrained(tmp_path)
    right = FAMILIES_OF["bert"]
    wanted, head = theirs_of(peer, padded, ids, "ForMaskedLM"), right.heads["ForMaskedLM"]
    assert difference(read_model(tmp_path, 0, "ForMaskedLM").model.eval()(ids), wanted) < 1e-5
    wrong = replace(head, spec=lambda *given: replace(head.spec(*given), **change))
    monkeypatch.setitem(FAMILIES_OF, "bert", replace(right, heads={**right.heads, "ForMaskedLM": wrong}))
    assert difference(read_model(tmp_path, 0, "ForMaskedLM").model.eval()(ids), wanted) > 1e-5
