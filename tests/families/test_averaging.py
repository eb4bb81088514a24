"""Heads that read the mean over positions, in families whose own classifiers read the first one, too."""

from __future__ import annotations

import pytest
import torch

from headwise.families.averaging import averaged
from headwise.families.checkpoint import read_model, write_model

NAMES = ["Bert", "Roberta", "DistilBert", "Electra", "ModernBert"]


@pytest.mark.parametrize("name", NAMES)
def test_transformers_opens_it_with_the_same_logits(name, tiny, ragged, difference, tmp_path):
    from transformers import AutoModelForSequenceClassification

    tiny(name).save_pretrained(tmp_path / "before")
    ids, theirs_in = ragged(pad=1 if name == "Roberta" else 0)
    with torch.inference_mode():
        checkpoint = averaged(read_model(tmp_path / "before"))
        ours = checkpoint.model.eval()(ids)
        (tmp_path / "after").mkdir()
        write_model(tmp_path / "after", checkpoint, ("a", "b", "c"))
        theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "after").eval()(**theirs_in).logits
        again = read_model(tmp_path / "after").model.eval()(ids)
    assert torch.equal(ours, again) and difference(ours, theirs) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_its_last_layer_reads_the_mean(name, tiny, ragged, tmp_path):
    tiny(name).save_pretrained(tmp_path)
    ids, _ = ragged()
    with torch.inference_mode():
        means = read_model(tmp_path).model.eval().encoder(ids).means()
        model = averaged(read_model(tmp_path)).model.eval()
        features = model.head.features(model.encoder(ids))
    if name != "ModernBert":  # whose own dense layer comes between
        features = features.atanh() if "tanh" in model.head.spec.activation else features - 8
        means = torch.nn.functional.layer_norm(means, means.shape[1:])
        assert torch.allclose(features, means, atol=0.02)
    assert model.head.spec.pool == ("mean" if name == "ModernBert" else "first")
