"""The battery every task passes: it learns eight rows, saves, reloads, says the same, and transformers agrees."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import headwise
from headwise.errors import InputError
from headwise.reading.batches import Batch
from headwise.reading.columns import choose_columns
from headwise.reading.records import from_columns
from headwise.tasks.text_classification import TextClassification, labels_in, weights_of

FAST = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 60, "eval_steps": 10, "patience": 99, "quiet": True}
KINDS = ["single", "pairs", "bars", "lists"]
FAMILIES = ["bert", "roberta"]


def rows_of(kind, films):
    """Eight rows as a file holds them, and the columns' names."""
    if kind == "single":
        return films, ("text", "label")
    if kind == "pairs":
        others = [text for text, _ in films[1:] + films[:1]]
        pairs = [(text, other, label) for (text, label), other in zip(films, others, strict=True)]
        return pairs, ("text_a", "text_b", "label")
    sets = [["fun", label] if len(text) % 2 else [label] for text, label in films]
    sets[2], sets[3] = [], ["bad", "fun", "good"]
    written = sets if kind == "lists" else [" | ".join(names) for names in sets]
    return [(text, names) for (text, _), names in zip(films, written, strict=True)], ("text", "label")


@pytest.fixture(scope="module")
def run_of(directory_of, films, table, tmp_path_factory):
    """Train once for each family and kind: the model in memory, its directory, its table."""
    made = {}

    def run(family, kind):
        if (family, kind) not in made:
            place = tmp_path_factory.mktemp(f"{family}-{kind}")
            rows, names = rows_of(kind, films)
            file = table(place / ("rows.jsonl" if kind == "lists" else "rows.tsv"), rows, *names)
            extra = {"label_separator": "|"} if kind == "bars" else {}
            extra["with_baselines"] = (family, kind) in {("bert", "single"), ("bert", "bars")}
            model = headwise.train(file, file, out=place / "run", model=str(directory_of(family)), **FAST, **extra)
            made[family, kind] = model, place / "run", file
        return made[family, kind]

    return run


def texts_of(kind, films):
    rows, names = rows_of(kind, films)
    return [row[: len(names) - 1] if kind == "pairs" else row[0] for row in rows]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
class TestBattery:
    def test_it_learns_eight_rows_by_heart(self, family, kind, run_of):
        model, _, file = run_of(family, kind)
        assert model.report.verdicts[-1].scores.accuracy == 1.0
        assert model.evaluate(file).accuracy == 1.0

    def test_reloaded_it_says_exactly_the_same(self, family, kind, run_of, films):
        model, place, file = run_of(family, kind)
        again, texts = headwise.load(place), texts_of(kind, films)
        assert again.labels == model.labels
        assert np.array_equal(again.probabilities(texts), model.probabilities(texts))
        assert again.predict(texts) == model.predict(texts)
        assert again.evaluate(file) == model.evaluate(file)

    def test_transformers_opens_the_directory_with_the_same_logits(self, family, kind, run_of, films):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        model, place, _ = run_of(family, kind)
        texts = texts_of(kind, films)
        tokenizer = AutoTokenizer.from_pretrained(place)
        theirs = AutoModelForSequenceClassification.from_pretrained(place).eval()
        columns = [list(column) for column in zip(*texts, strict=True)] if kind == "pairs" else [texts]
        with torch.no_grad():
            logits = theirs(**tokenizer(*columns, padding=True, return_tensors="pt")).logits
        assert np.allclose(model.task.probabilities(logits), model.probabilities(texts), atol=1e-4)
        assert logits.std() > 0.5  # they say something
        assert theirs.config.id2label == dict(enumerate(model.labels))
        multi = kind in ("bars", "lists")
        assert theirs.config.problem_type == f"{'multi' if multi else 'single'}_label_classification"

    def test_the_run_holds_all_it_should(self, family, kind, run_of):
        model, place, _ = run_of(family, kind)
        card = json.loads((place / "headwise.json").read_text())
        files = {file.name for file in place.iterdir()}
        model_files = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "headwise.json"}
        model_files |= {"golden.json"}
        assert files == model_files | {"metrics.json", "report.html", "README.md"}
        assert card["sha256"] == {
            name: sha256((place / name).read_bytes()).hexdigest() for name in model_files - {"headwise.json"}
        }
        metrics = json.loads((place / "metrics.json").read_text(), parse_constant=pytest.fail)
        assert metrics == json.loads(json.dumps(model.report.as_dict()))
        assert card["metrics"]["accuracy"] == 1.0 and card["task"] == "text-classification"
        assert "</html>" in (place / "report.html").read_text()
        assert "pipeline_tag: text-classification" in (place / "README.md").read_text()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_was_changed_after_saving_is_refused(name, run_of, tmp_path):
    place = shutil.copytree(run_of("bert", "single")[1], tmp_path / "run")
    damaged = bytearray((place / name).read_bytes())
    damaged[-20] ^= 1
    (place / name).write_bytes(damaged)
    with pytest.raises(InputError, match=rf"run/{name}: not the file that was saved"):
        headwise.load(place)
    (place / name).unlink()
    with pytest.raises(InputError, match=rf"run/{name}: not the file that was saved"):
        headwise.load(place)


def test_what_several_labels_are_answered_with(run_of, films):
    model, _, _ = run_of("bert", "lists")
    answers = model.predict([text for text, _ in films])
    assert model.labels == ("bad", "fun", "good")
    assert answers[2] == {"labels": [], "scores": []}
    assert answers[3]["labels"] == ["bad", "fun", "good"] and min(answers[3]["scores"]) >= 0.5


def test_thresholds_are_fitted_to_validation_rows_saved_and_restored(run_of, films, tmp_path):
    model, place, _ = run_of("bert", "lists")
    texts = [text for text, _ in films]
    assert len(model.task.thresholds) == 3 and headwise.load(place).task.thresholds == model.task.thresholds
    place = shutil.copytree(place, tmp_path / "run")
    card = json.loads((place / "headwise.json").read_text())
    for given, expected in (([0.0] * 3, 3), ([1.0] * 3, 0), (None, None)):
        (place / "headwise.json").write_text(json.dumps(card | {"settings": given and {"thresholds": given}}))
        sizes = {len(answer["labels"]) for answer in headwise.load(place).predict(texts)}
        assert given is None or sizes == {expected}
    for wrong in ([0.5], [0.5, 2, 0.5], ["0.5"] * 3, 0.5, [True] * 3):
        (place / "headwise.json").write_text(json.dumps(card | {"settings": {"thresholds": wrong}}))
        with pytest.raises(
            InputError, match=r"headwise\.json: thresholds: expected one from 0 to 1 for each of 3 labels; take"
        ):
            headwise.load(place)


# What labels are called, and in which order


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "9", "-1", "100"], ("-1", "9", "10", "100")),
        (["b", "10", "9", "a"], ("10", "9", "a", "b")),
        (["好", "差", "Z", "a"], ("Z", "a", "好", "差")),
        (["01", "1", "1.0"], ("01", "1", "1.0")),
    ],
)
def test_numbers_are_sorted_as_numbers_and_nothing_is_merged(names, order):
    assert labels_in(from_columns({"label": names * 2}), "label", False, None) == order


def test_a_model_keeps_the_order_of_its_labels_when_trained_again_on_the_same(run_of, films, table, tmp_path):
    place = shutil.copytree(run_of("bert", "single")[1], tmp_path / "run")
    config = json.loads((place / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    config |= {"id2label": {"0": "good", "1": "bad"}, "label2id": {"good": 0, "bad": 1}}
    (place / "config.json").write_text(json.dumps(config))
    (place / "headwise.json").unlink()
    again = FAST | {"epochs": 1, "learning_rate": 1e-9, "with_baselines": False}
    same = headwise.train(table(tmp_path / "a.tsv", films), tmp_path / "a.tsv", model=str(place), **again)
    assert same.labels == ("good", "bad")
    assert same.evaluate(tmp_path / "a.tsv").accuracy == 0.0  # its head is the old one, whose names we swapped
    renamed = [(text, label.upper()) for text, label in films]
    other = headwise.train(table(tmp_path / "b.tsv", renamed), tmp_path / "b.tsv", model=str(place), **again)
    assert other.labels == ("BAD", "GOOD")


# The loss


LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
CLASSES = np.array([0, 1, 2, 2, 2, 1, 0])


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.25)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_torch_with_weights_and_smoothing(weights, smoothing):
    task = TextClassification(("a", "b", "c"), class_weights=weights, label_smoothing=smoothing)
    targets = torch.from_numpy(CLASSES)
    expected = F.cross_entropy(LOGITS, targets, weights and torch.tensor(weights), label_smoothing=smoothing)
    mean = task.losses(LOGITS, Batch(None, None, targets, None)).sum() / task.weights(CLASSES).sum()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_loss_of_several_labels_is_that_of_torch():
    task = TextClassification(("a", "b", "c"), multi_label=True, class_weights=(0.5, 2.0, 1.25))
    targets = F.one_hot(torch.from_numpy(CLASSES), 3).float()
    positive = torch.tensor(task.class_weights)
    expected = F.binary_cross_entropy_with_logits(LOGITS, targets, pos_weight=positive)
    mean = task.losses(LOGITS, Batch(None, None, targets, None)).sum() / task.weights(targets.numpy()).sum()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-6)
    smooth = replace(task, label_smoothing=0.2)
    expected = F.binary_cross_entropy_with_logits(LOGITS, targets * 0.8 + 0.1, pos_weight=positive)
    found = smooth.losses(LOGITS, Batch(None, None, targets, None)).mean().item()
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_class_weights_none_balanced_and_given():
    from sklearn.utils.class_weight import compute_class_weight

    labels = ("a", "b", "c")
    assert weights_of("none", labels, CLASSES) is None
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=CLASSES)
    assert weights_of("balanced", labels, CLASSES) == pytest.approx(tuple(theirs))
    assert weights_of({"c": 3, "a": 1, "b": 2}, labels, CLASSES) == (1.0, 2.0, 3.0)
    several = np.array([[1, 0], [1, 0], [1, 1], [0, 1]])
    assert weights_of("balanced", ("a", "b"), several) == pytest.approx((1 / 3, 1))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("even", "'even': expected none, balanced or label=weight"),
        ({"a": 1, "b": 2}, "class weights: 'c' has none; give every label one"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "no label is called 'd'; the labels are 'a', 'b', 'c'"),
        ({"a": 1, "b": 2, "c": 0}, "every weight must be a number above 0"),
        ({"a": 1, "b": 2, "c": float("nan")}, "every weight must be a number above 0"),
    ],
)
def test_wrong_class_weights_are_refused(given, told):
    with pytest.raises(InputError, match=told):
        weights_of(given, ("a", "b", "c"), CLASSES)


def test_lists_where_one_label_is_expected_are_refused(run_of, table, tmp_path):
    lists = table(tmp_path / "lists.jsonl", [("a film", ["good"]), ("dull", ["bad"])])
    with pytest.raises(InputError, match=r"lists\.jsonl: column label holds lists, expected one label"):
        run_of("bert", "single")[0].evaluate(lists)


QUICK = {"epochs": 1, "with_baselines": False}


def test_a_model_of_other_labels_gets_a_new_last_layer_and_says_so(tmp_path, directory_of, films, table, capsys):
    one = table(tmp_path / "a.tsv", films)
    headwise.train(one, one, model=str(directory_of("bert")), **QUICK).save(tmp_path / "first")
    other = table(tmp_path / "b.tsv", [(text, {"good": "keep", "bad": "drop"}[label]) for text, label in films])
    capsys.readouterr()
    headwise.train(one, one, model=str(tmp_path / "first"), **QUICK)
    assert "head.out" not in capsys.readouterr().err
    headwise.train(other, other, model=str(tmp_path / "first"), **QUICK)
    assert "head.out" in capsys.readouterr().err


def test_labels_are_names_without_blanks_and_of_numbers_in_their_order():
    lists = from_columns({"text": ["a", "b", "c"], "label": [["x"], ["x ", "y"], [""]]})
    columns = choose_columns(lists)
    task = TextClassification.of_table(lists, columns)
    assert task.labels == ("x", "y")
    assert task.truth(lists, columns).tolist() == [[1, 0], [1, 1], [0, 0]]
    odd = from_columns({"text": ["a", "b", "c"], "label": ["10", "--5", "9"]})
    assert TextClassification.of_table(odd, choose_columns(odd)).labels == ("--5", "10", "9")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            ["dull", "warm", "warm|dull", "odd|name"],
            "a label looks like several in one, 'warm|dull'; if so: --label-se",
        ),
        (
            [" warm", "dull", "warm;dull"],
            "a label looks like several in one, 'warm;dull'; if so: --label-se",
        ),
        (["1,5", "2,0", "10,25"], "the labels look like numbers; for regression write 3,5 as 3.5, 1,000 as 1000 and "),
        (["0", "0,4", "4", "1.250,00"], "the labels look like numbers; for regression"),
        (["1,250.00", "20", "-3"], "the labels look like numbers; for regression"),
        (["35%", "7 %", "12.5%"], "the labels look like numbers; for regression"),
        (["1", "2", "1|2"], "a label looks like several in one, '1|2'; if so: --label-separator '|'"),
        (["1.5.2", "1.5"], None),
        (["a", "b", "a|b|"], "a label looks like several in one, 'a|b|'"),
        (["O O B-PER", "O", "B-LOC I-LOC"], "the labels look like tags of words; for token classification write"),
        (["O", "B-side"], None),
        ([",", ".", "|", ";"], None),
        (["[spam]", "[ham]"], None),
        (['["a", "b"]', "[]"], "the labels look like lists; if a text has several, write a .jsonl"),
        (["yes, please", "no"], None),
        (["1,5", "2,0", "none"], None),
    ],
)
def test_labels_that_look_like_something_else_are_pointed_out(labels, said):
    records = from_columns({"text": [f"text {i}" for i in range(len(labels))], "label": labels})
    columns = choose_columns(records)
    found = TextClassification.of_table(records, columns).remarks(records, columns)
    assert found == [] if said is None else len(found) == 1 and found[0].startswith(said)


def test_labels_that_no_row_gets_are_told(directory_of, films, capsys):
    rows = [*films, ("an odd one", "odd")] * 2
    table = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    how = {"model": directory_of("bert"), "epochs": 8, "learning_rate": 3e-3, "with_baselines": False}
    model = headwise.train(table, table, class_weights={"good": 1, "bad": 1, "odd": 1e-6}, **how)
    said = "never answers 'odd', which rows of validation have; give more rows of that kind"
    assert said in capsys.readouterr().err.replace("\n", " ") and said in model.report.notes
    several = TextClassification(("a", "b", "c"), multi_label=True)
    assert several.never_answered(np.array([[1, 1, 0], [0, 1, 0]]), np.array([[0, 1, 0], [0, 1, 1]])) == ["a"]


def test_the_separator_of_labels_is_remembered(tmp_path, directory_of, films, table):
    one = table(tmp_path / "a.tsv", [(text, f"{label};film") for text, label in films])
    how = {"label_separator": ";", "model": str(directory_of("bert"))}
    headwise.train(one, one, out=tmp_path / "run", **how, **QUICK)
    assert headwise.load(tmp_path / "run").evaluate(one).rows == len(films)


def test_a_report_may_be_deleted_and_a_model_card_edited(tmp_path, directory_of, films, table):
    one = table(tmp_path / "a.tsv", films)
    headwise.train(one, one, out=tmp_path / "run", model=str(directory_of("bert")), **QUICK)
    (tmp_path / "run" / "report.html").unlink()
    (tmp_path / "run" / "README.md").write_text("mine")
    assert headwise.load(tmp_path / "run").labels == ("bad", "good")


def test_an_empty_label_is_no_class(tmp_path, films, table):
    one = table(tmp_path / "a.tsv", [*films, ("a text", " ")])
    with pytest.raises(InputError, match=r"a\.tsv, line 10: the label in column label is empty"):
        headwise.train(one, one, quiet=True)


def test_a_model_of_pairs_does_not_answer_on_one_text(tmp_path, directory_of, films, table):
    rows, names = rows_of("pairs", films)
    pairs = table(tmp_path / "pairs.tsv", rows, *names)
    headwise.train(pairs, pairs, out=tmp_path / "run", model=str(directory_of("bert")), quiet=True, **QUICK)
    with pytest.raises(InputError, match="no column text_b, the second text of training"):
        headwise.load(tmp_path / "run").evaluate(table(tmp_path / "single.tsv", films))


@pytest.mark.parametrize(("column", "which"), [(0, "first"), (1, "second")])
def test_a_pair_with_one_side_empty_is_refused_naming_the_line_and_the_side(
    column, which, run_of, films, table, tmp_path, command
):
    model, place, _ = run_of("bert", "pairs")
    rows, names = rows_of("pairs", films)
    half = list(rows[2])
    half[column] = " "
    file = table(tmp_path / "a.tsv", [*rows[:2], half, *rows[3:]], *names)
    told = rf"a\.tsv, line 4: the text in column {names[column]} is empty"
    with pytest.raises(InputError, match=told + r" \(1 such rows in all\).*--skip-empty"):
        headwise.train(file, file, quiet=True)
    with pytest.raises(InputError, match=told):
        model.evaluate(file)
    status, _, said = command("predict", place, "--input", file)
    assert status == 2 and re.search(told + "; write one or delete the row", said)
    with pytest.raises(InputError, match=f"pair 2: the {which} text is empty; write one"):
        model.predict([rows[0][:2], half[:2]])


def test_a_table_that_already_has_answers_keeps_them(run_of, films, table, tmp_path, command):
    _, place, _ = run_of("bert", "single")
    rows = [(text, label, "mine") for text, label in films]
    one = table(tmp_path / "a.tsv", rows, "text", "label", "predicted_label")
    assert command("predict", place, "--input", one, "--output", tmp_path / "b.tsv")[0] == 0
    assert (tmp_path / "b.tsv").read_text().splitlines()[0].split("\t")[:4] == [
        "text", "label", "predicted_label", "predicted_predicted_label",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "  \t"])
def test_a_text_of_nothing_gets_no_label(text, run_of, command):
    status, out, said = command("predict", run_of("bert", "single")[1], "a fine film", text)
    assert (status, out) == (2, "") and "text 2 is empty, so there is nothing to answer" in said
