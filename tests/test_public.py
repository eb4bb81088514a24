"""The public face: these names, and no others."""

import importlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
import torch

import headwise


def test_the_public_face():
    assert set(headwise.__all__) == {"InputError", "Model", "Watch", "attention", "check", "load", "train"}
    assert all(hasattr(headwise, name) for name in headwise.__all__) and dir(headwise) == headwise.__all__
    assert headwise.train is importlib.import_module("headwise.finetune").train
    with pytest.raises(AttributeError, match="'headwise' has no attribute 'fit'"):
        _ = headwise.fit


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

    for ask in (model.predict, model.probabilities):
        with pytest.raises(headwise.InputError, match=r"expected a list of texts, found one string; give \[text\]"):
            ask("a fine film")
    with pytest.raises(headwise.InputError, match="found a table; give one column of it"):
        model.predict({"text": ["a fine film"]})
    with pytest.raises(headwise.InputError, match="text 2 is 'nan', expected a text"):
        model.predict(["a fine film", float("nan")])
    with pytest.raises(headwise.InputError, match="trained on single texts, found pairs"):
        model.explain(("a fine film", "dull"))
    with pytest.raises(headwise.InputError, match="no option is called 'txt_column'; did you mean text_column"):
        model.evaluate("dev.tsv", txt_column="text")
    with pytest.raises(headwise.InputError, match="text_column is 0, expected text"):
        model.evaluate("dev.tsv", text_column=0)
    with pytest.raises(headwise.InputError, match="label '1' is not one of"):
        model.explain("a fine film", label=1)
    assert repr(model) == "<headwise.Model: text-classification (bad, good), 2 × 32>"
    for wrong, meant in {
        "lerning_rate": "did you mean learning_rate",
        "label_colum": "did you mean label_column",
        "with_baseline": "did you mean with_baselines",
    }.items():
        with pytest.raises(headwise.InputError, match=f"no option is called '{wrong}'; {meant}"):
            headwise.train("train.tsv", **{wrong: 1})
    with pytest.raises(
        headwise.InputError, match=r"'xyz'; there are train, .*, out, .*, task, text_column, .*learning_rate"
    ):
        headwise.train("train.tsv", xyz=1)
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


def test_data_in_memory_by_columns_whatever_torch_was_told(directory_of, films, tmp_path):
    """A DataFrame, numbers of numpy, a path for the model; gradients turned off, as notebooks often have them."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(films, columns=["text", "label"], index=range(5, 5 + len(films)))
    how = {"epochs": np.int64(1), "batch_size": np.int64(4), "with_baselines": False, "quiet": True}
    runs = []
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            runs.append(headwise.train(frame, frame, out=tmp_path / str(grad), model=directory_of("bert"), **how))
            assert runs[-1].explain("a fine film", method="occlusion", layers=[0], heads=np.array([0])).heads_watched
            runs[-1].explain("a fine film", method="integrated_gradients")
    texts = frame["text"]
    assert runs[0].probabilities(texts).tolist() == runs[1].probabilities(texts).tolist()
    assert runs[0].probabilities(pa.array(texts)).tolist() == runs[0].probabilities(texts).tolist()
    with pytest.raises(headwise.InputError, match="several columns are called 'text'"):
        headwise.train(frame[["text", "text", "label"]], model=directory_of("bert"))
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "text", "label"])
    with pytest.raises(headwise.InputError, match="several columns are called 'text'"):
        headwise.train(twice, model=directory_of("bert"))
    with pytest.raises(headwise.InputError, match="several columns are called ''"):
        headwise.train(twice.rename_columns(["", "", "label"]), model=directory_of("bert"))


def test_runs_in_threads_are_those_in_turn(directory_of, films):
    table = {"text": [text for text, _ in films] * 3, "label": [label for _, label in films] * 3}
    how = {"model": directory_of("bert"), "epochs": 3, "dropout": 0.3, "with_baselines": False, "quiet": True}
    run = lambda seed: headwise.train(table, table, seed=seed, **how).probabilities(table["text"]).tolist()  # noqa: E731
    turn, before = [run(1), run(2)], torch.random.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(run, (1, 2))] == turn
    assert torch.equal(torch.random.get_rng_state(), before)
