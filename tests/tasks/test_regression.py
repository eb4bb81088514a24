"""The battery for numbers: it learns eight rows, saves, reloads, says the same, and transformers agrees."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.reading.columns import choose_columns
from headwise.reading.records import from_columns
from headwise.tasks import guessed, usual
from headwise.tasks.regression import Regression
from headwise.tasks.text_classification import TextClassification

FAST = {
    "learning_rate": 3e-3,
    "batch_size": 8,
    "epochs": 60,
    "eval_steps": 10,
    "patience": 99,
    "dropout": 0.0,
    "quiet": True,
}
NUMBERS = [1004.5, 980, 1011.25, 1002, 995.5, 1000, 1008.75, 990]  # far from standardised
KINDS = ["single", "pairs"]
FAMILIES = ["bert", "roberta"]


def texts_of(kind, films):
    texts = [text for text, _ in films]
    return texts if kind == "single" else list(zip(texts, texts[1:] + texts[:1], strict=True))


@pytest.fixture(scope="module")
def run_of(directory_of, films, table, tmp_path_factory):
    """Train once for each family and kind: the model in memory, its directory, its table."""
    made = {}

    def run(family, kind):
        if (family, kind) not in made:
            place = tmp_path_factory.mktemp(f"{family}-{kind}")
            texts = texts_of(kind, films)
            rows = [
                ((text,) if kind == "single" else text) + (number,) for text, number in zip(texts, NUMBERS, strict=True)
            ]
            names = ("text", "score") if kind == "single" else ("text_a", "text_b", "score")
            file = table(place / "rows.tsv", rows, *names)
            how = FAST | {"with_baselines": (family, kind) == ("bert", "single")}
            model = headwise.train(file, file, out=place / "run", model=str(directory_of(family)), **how)
            made[family, kind] = model, place / "run", file
        return made[family, kind]

    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
class TestBattery:
    def test_it_learns_eight_rows_by_heart_in_the_tables_unit(self, family, kind, run_of, films):
        model, _, file = run_of(family, kind)
        scores = model.evaluate(file)
        assert model.report.verdicts[-1].scores == scores
        assert scores.pearson > 0.99 and scores.r2 > 0.9 and scores.mae < 3
        answers = [answer["score"] for answer in model.predict(texts_of(kind, films))]
        assert answers == pytest.approx(NUMBERS, abs=8)

    def test_reloaded_it_says_exactly_the_same(self, family, kind, run_of, films):
        model, place, file = run_of(family, kind)
        again = headwise.load(place)
        assert again.task == model.task == Regression(("score",), scale=4 * np.std(NUMBERS))
        assert again.predict(texts_of(kind, films)) == model.predict(texts_of(kind, films))
        assert again.evaluate(file) == model.evaluate(file)

    def test_transformers_opens_the_directory_with_the_same_numbers(self, family, kind, run_of, films):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        model, place, _ = run_of(family, kind)
        texts = texts_of(kind, films)
        theirs = AutoModelForSequenceClassification.from_pretrained(place).eval()
        columns = [list(column) for column in zip(*texts, strict=True)] if kind == "pairs" else [texts]
        with torch.no_grad():
            encoded = AutoTokenizer.from_pretrained(place)(*columns, padding=True, return_tensors="pt")
            logits = theirs(**encoded).logits
        ours = [answer["score"] for answer in model.predict(texts)]
        assert logits[:, 0].tolist() == pytest.approx(ours, abs=1e-2)  # of a thousand
        assert theirs.config.id2label == {0: "score"}
        assert theirs.config.num_labels == 1 and theirs.config.problem_type == "regression"


def test_what_the_run_leaves(run_of):
    place = run_of("bert", "single")[1]
    card, metrics = (json.loads((place / name).read_text()) for name in ("headwise.json", "metrics.json"))
    assert card["task"] == "regression" and set(card["metrics"]) == {"pearson", "spearman", "r2"}
    assert [verdict["name"] for verdict in metrics["verdicts"]][:2] == ["mean", "TF-IDF + ridge regression"]
    assert "(frozen features + ridge regression)" in metrics["verdicts"][2]["name"]
    assert metrics["verdicts"][0]["pearson"] == 0 and {"mae", "rmse"} <= set(metrics["verdicts"][-1])
    assert "pipeline_tag: text-classification" in (place / "README.md").read_text()
    page = (place / "report.html").read_text()
    assert all(title in page for title in ("Truth and prediction", "Residuals", "Worst mistakes"))


def test_trained_again_it_begins_with_a_new_last_layer_in_standardised_units(run_of, capsys):
    _, place, file = run_of("bert", "single")
    again = headwise.train(
        file, file, model=str(place), **FAST | {"epochs": 5, "quiet": False, "with_baselines": False}
    )
    assert "head.out" in capsys.readouterr().err
    assert again.report.history[0]["loss"] < 10  # in the table's unit it would be of the order of 1,000,000


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_three_verbs_on_the_command_line(suffix, films, table, directory_of, tmp_path, command):
    rows = [(text, number) for (text, _), number in zip(films, NUMBERS, strict=True)]
    file = table(tmp_path / "rows.tsv", rows, "text", "score")
    words = ["--valid", file, "--model", directory_of("bert"), "--epochs", "2", "--no-baselines", "--out"]
    status, said, notes = command("train", file, *words, tmp_path / "run")
    assert status == 0 and "task: regression, one number per text: score" in notes
    assert "mean absolute error" in said and "Pearson" in said
    status, said, _ = command("evaluate", tmp_path / "run", file, "--json")
    assert status == 0 and json.loads(said)["verdicts"][0]["rows"] == 8
    status, said, _ = command("predict", tmp_path / "run", "a fine film")
    assert status == 0 and list(json.loads(said)) == ["score"]
    output = tmp_path / f"answers.{suffix}"
    assert command("predict", tmp_path / "run", "--input", file, "--output", output)[0] == 0
    with output.open(encoding="utf-8") as lines:
        answers = list(csv.DictReader(lines)) if suffix == "csv" else [json.loads(line) for line in lines]
    assert list(answers[0]) == ["text", "score", "predicted_score"]
    assert np.isfinite([float(answer["predicted_score"]) for answer in answers]).all()


# Which tables and models are for it


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["1.5", "2", "-3e1"], Regression),
        (["1.0", "2.0", "5.000"], TextClassification),
        (["1", "2", "5"], TextClassification),
        (["1.5", "2.5", "high"], TextClassification),
        (["1.5", "nan"], TextClassification),
        ([["1.5"], ["2.5"]], TextClassification),
    ],
)
def test_numbers_of_which_some_have_a_fraction_are_guessed_to_be_numbers(values, task):
    records = from_columns({"text": ["a", "b", "c"][: len(values)], "label": values})
    assert guessed(records, choose_columns(records)) is task


def test_models_of_other_tools_that_make_one_number():
    about = {"architectures": ["BertForSequenceClassification"]}
    one, two = {"0": "LABEL_0"}, {"0": "a", "1": "b"}
    assert usual(about | {"id2label": one}) is Regression
    assert usual(about | {"id2label": one, "problem_type": "regression"}) is Regression
    assert usual(about | {"id2label": two}) is usual(about) is TextClassification
    assert usual(about | {"id2label": one, "problem_type": "multi_label_classification"}) is TextClassification
    with pytest.raises(InputError, match="regression of 2 numbers at once"):
        Regression.of_config({}, ("a", "b"))


# What is refused


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(wrong, "a number such as 3.5; write one or delete") for wrong in ("n/a", "", "nan", "inf", "0x1f", "1_000", "٣")]
    + [
        ("3,5", "a number such as 3.5; write 3.5"),
        ("3,", "a number such as 3.5; write 3"),
        (" -1,234", "a number such as 3.5; write -1234 or -1.234"),
    ]
    + [(wrong, "a number between -1e+30 and 1e+30, as far as") for wrong in ("1e999", "-1e39")],
)
def test_what_is_no_finite_number_is_refused_with_its_line(wrong, said, films, table, tmp_path):
    rows = [(text, number) for (text, _), number in zip(films, NUMBERS, strict=True)]
    rows[3] = (rows[3][0], wrong)
    file = table(tmp_path / "a.tsv", rows, "text", "score")
    with pytest.raises(InputError, match=rf"a\.tsv, line 5: score is '.*', expected {re.escape(said)}"):
        headwise.train(file, file, task="regression", quiet=True)


def test_numbers_that_float32_cannot_tell_apart_are_refused_before_training(films, directory_of):
    texts = [text for text, _ in films] * 2
    for numbers, said in [
        ([1.7e9 + 10 * (row % 2) for row in range(len(texts))], r"lie around 1\.7e\+09 and differ by 5, too little"),
        ([3.4e38 * (-1) ** row for row in range(len(texts))], r"label is '3.4e\+38', expected a number between -1e"),
    ]:
        rows = {"text": texts, "label": numbers}
        with pytest.raises(InputError, match=said):
            headwise.train(rows, rows, model=directory_of("bert"), task="regression", quiet=True)


def test_one_number_only_lists_and_options_of_classes_are_refused(run_of, films, table, tmp_path):
    texts = [text for text, _ in films]
    same = table(tmp_path / "same.tsv", [(text, "2.50") for text in texts], "text", "score")
    with pytest.raises(InputError, match=r"same\.tsv: column score holds one number only \('2\.50'\)"):
        headwise.train(same, same, quiet=True)
    lists = table(tmp_path / "lists.jsonl", [(text, [1.5]) for text in texts], "text", "score")
    with pytest.raises(InputError, match=r"lists\.jsonl: column score holds lists, expected one number"):
        headwise.train(lists, lists, task="regression", quiet=True)
    file = run_of("bert", "single")[2]
    with pytest.raises(InputError, match="class weights and label smoothing are of classes"):
        headwise.train(file, file, label_smoothing=0.1, quiet=True)
    with pytest.raises(InputError, match="--label-separator cuts labels"):
        headwise.train(file, file, label_separator="|", quiet=True)
    with pytest.raises(InputError, match=r"metric 'accuracy': expected pearson, spearman, r2"):
        headwise.train(file, file, metric="accuracy", quiet=True)


def test_a_number_is_explained_in_the_tables_unit(run_of):
    model = run_of("bert", "single")[0]
    found = model.explain("a fine film , warm", method="occlusion", layers=())
    assert found.measure == "number" and found.labels == model.labels
    assert found.probabilities[0] == pytest.approx(model.predict(["a fine film , warm"])[0]["score"], abs=1e-5)


def test_a_number_that_is_none_does_not_make_the_others_classes(table, tmp_path):
    rows = [(f"text {row}", "n/a" if row == 3 else f"{row}.5") for row in range(20)]
    file = table(tmp_path / "scores.tsv", rows, "text", "score")
    with pytest.raises(InputError, match=r"scores\.tsv, line 5: .*n/a"):
        headwise.train(file, file, quiet=True)
