"""Checkpoints as people have them: without a head, with another one, old, halved, in shards; and what we write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from headwise.families.checkpoint import encoder_of, read_config, read_model, write_model

HEAD, OUT = "head.dense, head.out", "head.out"
PRETRAINED: dict[str, tuple[str, str, str, str | None]] = {  # name, head, what is drawn anew, what is left out
    "BERT alone": ("Bert", "Model", OUT, None),
    "BERT for masks": ("Bert", "ForMaskedLM", HEAD, "cls"),
    "BERT as pretrained": ("Bert", "ForPreTraining", OUT, "cls"),
    "RoBERTa alone": ("Roberta", "Model", HEAD, "roberta.pooler"),
    "RoBERTa for masks": ("Roberta", "ForMaskedLM", HEAD, "lm_head"),
    "XLM-R for masks": ("XLMRoberta", "ForMaskedLM", HEAD, "lm_head"),
    "CamemBERT alone": ("Camembert", "Model", HEAD, "roberta.pooler"),
    "DistilBERT alone": ("DistilBert", "Model", HEAD, None),
    "DistilBERT for masks": (
        "DistilBert",
        "ForMaskedLM",
        HEAD,
        "vocab_layer_norm, vocab_projector, vocab_transform",
    ),
    "ELECTRA alone": ("Electra", "Model", HEAD, None),
    "ELECTRA that spots": ("Electra", "ForPreTraining", HEAD, "discriminator_predictions"),
    "ELECTRA that fills": ("Electra", "ForMaskedLM", HEAD, "generator_lm_head, generator_predictions"),
    "ModernBERT alone": ("ModernBert", "Model", "head.dense, head.norm, head.out", None),
    "ModernBERT for masks": ("ModernBert", "ForMaskedLM", OUT, "decoder"),
}


@pytest.fixture
def bert(tiny, tmp_path) -> tuple[Any, Path]:
    """A transformers BERT with three labels and the directory it was saved in."""
    model = tiny("Bert")
    model.save_pretrained(tmp_path / "bert")
    return model, tmp_path / "bert"


def rewrite(directory: Path, change) -> None:
    """The weights of a directory after change(name, tensor) -> name, tensor."""
    file = directory / "model.safetensors"
    save_file(dict(change(*item) for item in load_file(file).items()), file, {"format": "pt"})


@torch.no_grad()
@pytest.mark.parametrize(("name", "head", "fresh", "left_out"), PRETRAINED.values(), ids=PRETRAINED)
def test_a_pretrained_encoder_gets_a_head_and_says_so(name, head, fresh, left_out, tiny, ragged, difference, tmp_path):
    theirs = tiny(name, head)
    theirs.save_pretrained(tmp_path)
    checkpoint, (ids, padded) = read_model(tmp_path, 5, seed=7), ragged(pad=theirs.config.pad_token_id)
    wanted = theirs.base_model(**padded).last_hidden_state
    hidden = checkpoint.model.eval().encoder(ids)
    assert all(difference(ours, row[: len(ours)]) < 1e-5 for ours, row in zip(hidden.unpack(), wanted, strict=True))
    assert checkpoint.notes == (
        f"drawn anew from seed 7 (absent, or made for other labels): {fresh}",
        *([f"in the checkpoint, not needed for this task: {left_out}"] if left_out else []),
    )
    logits = checkpoint.model(ids)
    assert logits.shape == (5, 5) and logits.isfinite().all()
    assert torch.equal(encoder_of(tmp_path).eval()(ids).data, hidden.data)
    # What was drawn is written, and transformers then has the whole classifier.
    write_model(tmp_path, checkpoint, "abcde", "single_label_classification")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert difference(logits, again(**padded).logits) < 1e-5


def test_a_new_head_is_small_its_biases_0_and_its_norm_1(tiny, tmp_path):
    tiny("ModernBert", "Model", norm_bias=True, classifier_bias=True, initializer_range=0.01).save_pretrained(tmp_path)
    head = read_model(tmp_path, 200).model.head
    assert head.out.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert head.dense.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not head.out.bias.any() and not head.dense.bias.any() and not head.norm.bias.any()
    assert (head.norm.weight == 1).all()


def test_the_last_layer_stays_where_its_size_fits_and_is_drawn_anew_where_not(bert):
    model, directory = bert
    same, other = read_model(directory, 3), read_model(directory, 4)
    assert same.notes == ()
    assert torch.equal(same.model.head.out.weight, model.classifier.weight)
    assert other.notes == ("drawn anew from seed 0 (absent, or made for other labels): head.out",)
    assert other.model.head.out.weight.shape == (4, 32)
    assert torch.equal(other.model.head.dense.weight, model.bert.pooler.dense.weight)


def test_what_is_drawn_depends_on_the_seed_alone(bert):
    _, directory = bert
    drawn = []
    for noise, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        drawn.append(read_model(directory, 4, seed=seed).model.head.out.weight)
        assert torch.equal(torch.get_rng_state(), before)  # nobody else's random numbers change
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_read_as_float32(dtype, bert, ragged, difference, tmp_path):
    model, directory = bert
    rewrite(directory, lambda name, tensor: (name, tensor.to(dtype)))
    model = model.to(dtype).float()
    checkpoint, (ids, padded) = read_model(directory), ragged()
    assert {weight.dtype for weight in checkpoint.model.state_dict().values()} == {torch.float32}
    wanted = model(**padded).logits
    assert difference(checkpoint.model.eval()(ids), wanted) < 1e-5
    write_model(tmp_path, checkpoint, "abc", "multi_label_classification")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert again.dtype == torch.float32
    assert torch.equal(again(**padded).logits, wanted)


@torch.no_grad()
def test_names_of_early_checkpoints_are_known(bert, ragged, difference):
    model, directory = bert
    early = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def older(name, tensor):
        for new, old in early.items():
            name = name.replace(new, old)
        return name, tensor

    rewrite(directory, older)
    file = directory / "model.safetensors"
    save_file(load_file(file) | {"bert.embeddings.position_ids": torch.arange(48)[None]}, file, {"format": "pt"})
    checkpoint, (ids, padded) = read_model(directory), ragged()
    assert checkpoint.notes == ()
    assert difference(checkpoint.model.eval()(ids), model(**padded).logits) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["Bert", "ModernBert"])
def test_shards_are_read_and_written(name, tiny, ragged, difference, tmp_path):
    theirs, (ids, padded) = tiny(name), ragged()
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    (tmp_path / "ours").mkdir()
    checkpoint = read_model(tmp_path / "theirs")
    write_model(tmp_path / "ours", checkpoint, "abc", "single_label_classification", max_shard_size="20KB")
    for directory in (tmp_path / "theirs", tmp_path / "ours"):
        assert len([*directory.glob("model-*-of-*.safetensors")]) > 2
        assert not (directory / "model.safetensors").exists()
    assert difference(checkpoint.model.eval()(ids), theirs(**padded).logits) < 1e-5
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(again(**padded).logits, theirs(**padded).logits)
    assert torch.equal(read_model(tmp_path / "ours").model.eval()(ids), checkpoint.model(ids))


def test_the_config_we_write_is_the_one_we_read_but_for_labels_and_kind(bert, tmp_path):
    _, directory = bert
    before = read_config(directory) | {"torch_dtype": "float16", "num_labels": 3, "a_field_of_theirs": [1, None]}
    (directory / "config.json").write_text(json.dumps(before))
    written = write_model(tmp_path, read_model(directory), ["非", "ja", "no"], "multi_label_classification")
    assert written == read_config(tmp_path)
    assert "非" in (tmp_path / "config.json").read_text(encoding="utf-8")
    changed = {key for key in before.keys() | written.keys() if before.get(key) != written.get(key)}
    assert changed == {"id2label", "label2id", "problem_type", "torch_dtype", "num_labels"}
    assert written["id2label"] == {"0": "非", "1": "ja", "2": "no"}


def test_a_checkpoint_says_its_labels_in_order_and_its_longest_sequence(tiny, tmp_path):
    names = {number: f"class {number}" for number in range(12)}  # as words, "10" comes before "2"
    tiny("Roberta", num_labels=12, id2label=names).save_pretrained(tmp_path)
    checkpoint = read_model(tmp_path)
    assert checkpoint.labels == tuple(names.values())
    assert checkpoint.max_length == 46  # 48 places, of which RoBERTa leaves the first two empty
