"""The public face: these names, and no others."""

import pytest
import torch

import headwise


def test_the_public_face():
    assert set(headwise.__all__) == {"InputError", "Model", "Watch", "attention", "check", "load", "train"}
    assert all(hasattr(headwise, name) for name in headwise.__all__)


def test_attention_is_the_formula():
    from headwise import attention

    query, key, value = torch.randn(3, 2, 4, 5, 8).unbind()
    expected = torch.softmax(query @ key.mT / 8**0.5, -1) @ value
    assert torch.allclose(attention(query, key, value), expected, atol=1e-6)


def test_train_predict_evaluate_load(directory_of, films, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "train.tsv", films)
    table(tmp_path / "dev.tsv", films[:4])
    how = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 30, "patience": 99, "model": str(directory_of("bert"))}
    model = headwise.train("train.tsv", valid="dev.tsv", out="run", **how)
    assert isinstance(model, headwise.Model) and model.labels == ("bad", "good")
    (answer,) = model.predict(["a fine film , warm and funny"])
    assert answer["label"] == "good" and 0.5 < answer["score"] <= 1
    assert [one["label"] for one in model.predict([text for text, _ in films[:4]])] == ["good", "bad"] * 2
    assert headwise.load("run").evaluate("dev.tsv").accuracy == 1.0
    assert model.predict([]) == []
    assert [verdict.name.split(" before")[0] for verdict in model.report.verdicts][:2] == [
        "majority class",
        "TF-IDF + logistic regression",
    ]
    out, said = capsys.readouterr()
    assert out == "" and "recipe: learning_rate 0.003, epochs 30" in said

    with pytest.raises(
        headwise.InputError, match=r"takes a list of texts, found one string; write predict\(\[text\]\)"
    ):
        model.predict("a fine film")
    with pytest.raises(headwise.InputError, match="no option is called lerning_rate"):
        headwise.train("train.tsv", lerning_rate=1)
    with pytest.raises(headwise.InputError, match="found a list, expected the path of a table"):
        headwise.train([{"text": "a", "label": "b"}], model=how["model"])
    with pytest.raises(headwise.InputError, match="every weight must be a number above 0"):
        headwise.train("train.tsv", valid="dev.tsv", **how, class_weights={"good": "2", "bad": 1})
    with pytest.raises(headwise.InputError, match="--report-to mlflow: expected"):
        headwise.train("train.tsv", report_to="mlflow")
    with pytest.raises(headwise.InputError, match="nowhere: no such model directory"):
        headwise.load("nowhere")
    model.save("copy")
    assert headwise.load("copy").predict(["dull"]) == model.predict(["dull"])
