"""Ours computes what transformers computes, for every family, from the file both read, to 1e-5."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from headwise.core.attention import Watch
from headwise.families import FAMILIES
from headwise.families.checkpoint import family_of, read_config, read_model, weight_names, write_model

THETAS = {"full_attention": 500.0, "sliding_attention": 20.0}
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {}),
    "bert with gelu_new": ("Bert", {"hidden_act": "gelu_new"}),
    "bert with relu and a coarse epsilon": ("Bert", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    "bert, faint enough to show epsilons": ("Bert", {"std": 0.03, "norms": 0.05}),
    "bert that sees only the past": ("Bert", {"is_decoder": True, "use_cache": False}),
    "roberta": ("Roberta", {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "roberta with another padding token": ("Roberta", {"pad_token_id": 3}),
    "xlm-roberta": ("XLMRoberta", {"type_vocab_size": 1}),
    "camembert": ("Camembert", {"type_vocab_size": 1}),
    "distilbert": ("DistilBert", {}),
    "distilbert with relu": ("DistilBert", {"activation": "relu"}),
    "distilbert, faint": ("DistilBert", {"std": 0.03, "norms": 0.05}),
    "electra": ("Electra", {}),
    "electra with wide embeddings": ("Electra", {"embedding_size": 32}),
    "modernbert": ("ModernBert", {}),
    "modernbert, mean": ("ModernBert", {"classifier_pooling": "mean"}),
    "modernbert with every bias": (
        "ModernBert",
        dict.fromkeys(["attention_bias", "mlp_bias", "norm_bias", "classifier_bias"], True)
        | {"classifier_activation": "relu", "hidden_activation": "silu", "norm_eps": 1e-3},
    ),
    "modernbert with other windows and bases": (
        "ModernBert",
        {
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in THETAS.items()},
            "local_attention": 5,
        },
    ),
}


@dataclass(frozen=True)
class Peer:
    """A transformers model, the directory it was saved in, and the same ragged batch for both of us."""

    model: Any
    directory: Path
    ids: Any
    padded: dict


@pytest.fixture(scope="module", params=PEERS.values(), ids=PEERS)
def peer(request, tiny, ragged, tmp_path_factory) -> Peer:
    name, config = request.param
    model, directory = tiny(name, **config), tmp_path_factory.mktemp(name)
    model.save_pretrained(directory)
    return Peer(model, directory, *ragged(pad=model.config.pad_token_id))


def packed(padded, ids):
    """Theirs [b t …] without the padding -> [n …]"""
    return torch.cat([row[:length] for row, length in zip(padded, ids.lengths.each, strict=True)])


def silent(model) -> dict[str, float]:
    """Every dropout of a model's config, at 0."""
    return {key: 0.0 for key in model.config.to_dict() if "dropout" in key}


def test_all_supported_model_types_are_compared():
    assert {AutoConfig.for_model(name).model_type for name in FAMILIES} == {
        name.split()[0].rstrip(",") for name in PEERS
    }


@torch.no_grad()
def test_logits_and_hidden_states_are_theirs(peer, difference):
    model = read_model(peer.directory).model.eval()
    theirs = peer.model.base_model(**peer.padded).last_hidden_state
    assert difference(model.encoder(peer.ids).data, packed(theirs, peer.ids)) < 1e-5
    assert difference(model(peer.ids), peer.model(**peer.padded).logits) < 1e-5


def test_gradients_in_train_mode_without_dropout_are_theirs(peer, difference):
    theirs = AutoModelForSequenceClassification.from_pretrained(peer.directory, **silent(peer.model)).double().train()
    ours = read_model(peer.directory, dropout=0.0).model.double().train()
    towards = torch.linspace(-1, 2, 15).double().view(5, 3)
    for logits in (ours(peer.ids), theirs(**peer.padded).logits):
        ((logits - towards) ** 2).sum().backward()
    wanted, got = dict(theirs.named_parameters()), dict(ours.named_parameters())
    names = weight_names(family_of(read_config(peer.directory), peer.directory), ours)
    assert names.keys() == wanted.keys()
    for name, parts in names.items():
        assert difference(torch.cat([got[part].grad for part in parts]), wanted[name].grad) < 1e-5, name


@torch.no_grad()
def test_watched_attention_is_theirs_and_changes_nothing(peer, difference):
    slow = AutoModel.from_pretrained(peer.directory, attn_implementation="eager")
    theirs = slow(**peer.padded, output_attentions=True).attentions  # layers of [b h t t]
    model, watch, some = read_model(peer.directory).model.eval(), Watch(), Watch(layers=[1], heads=[3, 0])
    assert torch.equal(model(peer.ids, watch=watch), model(peer.ids, watch=some))
    assert list(watch.attention) == list(range(len(theirs)))
    assert list(some.attention) == [1]
    for layer, sequences in watch.attention.items():
        for row, ours in enumerate(sequences):
            length = peer.ids.lengths.each[row]
            assert difference(ours, theirs[layer][row, :, :length, :length]) < 1e-5
    assert all(torch.equal(a, b[[3, 0]]) for a, b in zip(some.attention[1], watch.attention[1], strict=True))


@torch.no_grad()
def test_what_we_write_is_theirs_again(peer, tmp_path):
    checkpoint = read_model(peer.directory)
    write_model(tmp_path, checkpoint, ["bad", "fair", "good"], "single_label_classification")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    state, back = peer.model.state_dict(), again.state_dict()
    assert state.keys() == back.keys()
    assert all(torch.equal(state[name], back[name]) for name in state)
    assert torch.equal(again(**peer.padded).logits, peer.model(**peer.padded).logits)
    assert again.config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert again.config.problem_type == "single_label_classification"
    assert read_model(tmp_path).labels == ("bad", "fair", "good")


@torch.no_grad()
@pytest.mark.parametrize("name", ["Bert", "Electra"])
def test_token_types_count_where_given(name, tiny, ragged, difference, tmp_path):
    theirs, (ids, padded) = tiny(name), ragged()
    theirs.save_pretrained(tmp_path)
    types = [(torch.arange(length) >= length // 2).long() for length in ids.lengths.each]
    padded["token_type_ids"] = torch.nn.utils.rnn.pad_sequence(types, batch_first=True)
    model, wanted = read_model(tmp_path).model.eval(), theirs(**padded).logits
    assert difference(model(ids, types=torch.cat(types)), wanted) < 1e-5
    assert difference(model(ids), wanted) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("name", ["Bert", "Roberta", "DistilBert", "Electra", "ModernBert"])
def test_dropout_of_the_config_works_and_ours_replaces_all_of_it(name, tiny, ragged, tmp_path):
    tiny(name).save_pretrained(tmp_path)
    torch.manual_seed(0)
    ids, _ = ragged()
    own, none = read_model(tmp_path).model, read_model(tmp_path, dropout=0.0).model
    calm = own.eval()(ids)
    assert not torch.allclose(own.train()(ids), calm, atol=1e-3)
    assert torch.equal(none.train()(ids), calm)
    all_but_nothing = read_model(tmp_path, dropout=1 - 1e-6).model.train()
    assert torch.equal(all_but_nothing(ids), all_but_nothing.head.out.bias.expand(5, 3))


@torch.no_grad()
def test_modernbert_is_read_in_its_older_spelling_too(tiny, ragged, difference, tmp_path):
    counted = ["full_attention", "sliding_attention"] * 2
    rotary = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in THETAS.items()}
    theirs, (ids, padded) = tiny("ModernBert", layer_types=counted, rope_parameters=rotary), ragged()
    theirs.save_pretrained(tmp_path)
    older = read_config(tmp_path)
    del older["layer_types"], older["rope_parameters"]
    older |= {"global_attn_every_n_layers": 2, "global_rope_theta": 500.0, "local_rope_theta": 20.0}
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert difference(read_model(tmp_path).model.eval()(ids), theirs(**padded).logits) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["Bert", "Roberta", "XLMRoberta", "DistilBert", "Electra", "ModernBert"])
def test_what_a_config_leaves_out_is_what_transformers_fills_in(name, tiny, ragged, difference, tmp_path):
    usual = {"embedding_size": 128} if name == "Electra" else {}
    usual |= {"local_attention": 128} if name == "ModernBert" else {}
    tiny(name, std=0.02, **usual).save_pretrained(tmp_path)
    config, sizes = read_config(tmp_path), ("hidden_size", "intermediate_size", "num_", "vocab_size", "max_pos")
    kept = ("model_type", "id2label", "dim", "hidden_dim", "n_", *sizes)
    short = {key: value for key, value in config.items() if key.startswith(kept)}
    assert len(short) < len(config) - 5
    (tmp_path / "config.json").write_text(json.dumps(short))
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path, pad_token_id=1).eval()
    ids, padded = ragged(pad=1)
    assert difference(read_model(tmp_path).model.eval()(ids), theirs(**padded).logits) < 1e-5
