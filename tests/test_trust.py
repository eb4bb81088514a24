"""Compare and decide, from end to end: what is promised, kept, refused."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.judging.fitted import OUT_OF_SCOPE, UNSURE
from headwise.tasks.text_classification import TextClassification
from headwise.training.asked import Asked
from headwise.trust import compared, decided


@pytest.fixture(scope="module")
def place(tmp_path_factory, table, films, directory_of):
    """A run, a worse one, and tables of rows they have not seen."""
    place = tmp_path_factory.mktemp("trust")
    rows = [(f"{text} {i}", label) for i in range(8) for text, label in films]
    train, valid = table(place / "train.tsv", rows), table(place / "valid.tsv", [(f"{t} so", y) for t, y in films])
    how = {"model": str(directory_of("bert")), "with_baselines": False, "quiet": True, "batch_size": 8, "dropout": 0.0}
    headwise.train(train, valid, out=place / "good", epochs=6, learning_rate=5e-3, **how)
    headwise.train(train, valid, out=place / "poor", epochs=0.1, learning_rate=1e-6, **how)
    table(place / "test.tsv", [(f"{text} indeed {i}", label) for i in range(40) for text, label in films])
    return place


@pytest.fixture
def run(place, tmp_path):
    """A copy of the good run, to be changed."""
    return shutil.copytree(place / "good", tmp_path / "run")


def test_the_better_of_two_is_found(place, command):
    status, said, _ = command("compare", place / "poor", place / "good", place / "test.tsv", "--json")
    found = json.loads(said)
    assert status == 0 and found["metric"] == "accuracy"
    assert {one["name"]: one["verdict"] for one in found["metrics"]}["accuracy"] == "better"
    assert command("compare", place / "good", place / "poor", place / "test.tsv")[1].startswith(
        f"{place / 'poor'} is worse than {place / 'good'}, by accuracy on 320 rows"
    )
    same = command("compare", place / "good", place / "good", place / "test.tsv")[1]
    assert "cannot tell" in same and "of 2 classes one can tell 0" in same


def test_the_order_of_labels_does_not_matter(place, run):
    good = headwise.load(place / "good")
    config = json.loads((run / "config.json").read_text())
    turned = {"0": good.labels[1], "1": good.labels[0]}
    (run / "config.json").write_text(json.dumps(config | {"id2label": turned, "label2id": {}}))
    (run / "headwise.json").unlink()
    found, _ = compared(good, headwise.load(run), place / "test.tsv", Asked())
    assert found.named("accuracy").second == pytest.approx(1 - found.named("accuracy").first)


def test_models_with_other_labels_are_not_compared(place, run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"id2label": {"0": "good", "1": "grue"}, "label2id": {}}))
    (run / "headwise.json").unlink()
    with pytest.raises(InputError, match="cannot be compared: 'bad', 'grue'"):
        compared(headwise.load(place / "good"), headwise.load(run), place / "test.tsv", Asked())


def test_probabilities_are_calibrated_and_answers_the_same(place):
    model = headwise.load(place / "good")
    kept = json.loads((place / "good" / "headwise.json").read_text())["settings"]
    assert kept == {"temperature": model.classification.fitted.temperature, "rule": None, "scope": None}
    _, logits = model.asked(["a fine film", "dull"])
    expected = (logits / kept["temperature"]).softmax(-1).numpy()
    assert model.probabilities(["a fine film", "dull"]) == pytest.approx(expected)
    assert model.explain("a fine film").probabilities == pytest.approx(expected[0], abs=1e-5)


def test_a_rule_is_kept_with_the_model_and_obeyed(place, run, command):
    status, said, _ = command("decide", run, place / "test.tsv", "--most-error", 0.1, "--false-alarms", 0.05)
    assert status == 0 and "with 95% certainty at most" in said and "5.00% false alarms" in said
    model = headwise.load(run)
    fitted = model.classification.fitted
    answers = model.predict(["a fine film , warm and funny indeed", "film indeed nothing the too"])
    for answer in answers:
        assert (answer["label"] is None) == (answer["abstains"] in (UNSURE, OUT_OF_SCOPE))
        assert answer["abstains"] is not None or answer["score"] > fitted.rule.threshold
    evaluated = json.loads(command("evaluate", run, place / "test.tsv", "--json")[1])["when_to_answer"]
    assert [one["name"] for one in evaluated] == ["answered", UNSURE, OUT_OF_SCOPE]
    assert evaluated[0]["rows"] == fitted.rule.answered and evaluated[0]["wrong"] <= 0.1
    assert evaluated[2]["share"] <= 0.05
    assert "when to answer: " in command("evaluate", run, place / "test.tsv")[1]


def test_what_is_kept_back_is_an_empty_field(place, run, command, tmp_path):
    assert command("decide", run, place / "test.tsv", "--false-alarms", 0.5)[0] == 0
    out = tmp_path / "answers.csv"
    status, _, said = command("predict", run, "--input", place / "test.tsv", "--output", out)
    assert status == 0, said
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    kept_back = [row for row in rows if row["abstains"] == OUT_OF_SCOPE]
    assert 0 < len(kept_back) < len(rows)
    assert {row["predicted_label"] for row in kept_back} == {""}


def test_deciding_changes_card_and_golden_records_only_and_can_be_done_again(place, run):
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    decided(run, place / "test.tsv", Asked(), None, 0.05)
    changed = sorted(name for name, was in before.items() if (run / name).read_bytes() != was)
    assert changed == ["golden.json", "headwise.json"]
    again, _ = decided(run, place / "test.tsv", Asked(), 0.2, None)
    assert again.scope is None and again.rule is not None


def test_rows_of_training_and_too_few_rows_decide_nothing(place, run):
    before = (run / "headwise.json").read_bytes()
    with pytest.raises(InputError, match="was trained on these rows"):
        decided(run, place / "train.tsv", Asked(), 0.1, None)
    with pytest.raises(InputError, match=r"no threshold keeps the error at 0\.10%"):
        decided(run, place / "test.tsv", Asked(), 0.001, None)
    with pytest.raises(InputError, match="nothing to decide"):
        decided(run, place / "test.tsv", Asked(), None, None)
    assert (run / "headwise.json").read_bytes() == before


def test_the_table_that_training_split_is_known_again(place, tmp_path, directory_of):
    how = {"model": str(directory_of("bert")), "with_baselines": False, "quiet": True, "epochs": 0.1}
    headwise.train(place / "test.tsv", out=tmp_path / "run", **how)
    with pytest.raises(InputError, match=r"test\.tsv: the model was trained on these rows"):
        decided(tmp_path / "run", place / "test.tsv", Asked(), 0.1, None)


@pytest.mark.parametrize("kept", [{"temperature": 0}, {"temperature": "x"}, {"rule": {"a": 1}}, {"scope": [1]}, []])
def test_a_damaged_calibration_is_refused(run, kept):
    card = json.loads((run / "headwise.json").read_text())
    (run / "headwise.json").write_text(json.dumps(card | {"settings": kept}))
    with pytest.raises(InputError, match=r"expected temperature, rule and scope|not as headwise writes it"):
        headwise.load(run)


def test_a_directory_of_other_tools_has_a_temperature_of_one(run, place):
    (run / "headwise.json").unlink()
    model = headwise.load(run)
    assert model.classification.fitted.temperature == 1
    long = ["a fine film , " + "dull and slow , " * 40]
    before = model.predict(long)
    assert np.isfinite(model.evaluate(place / "test.tsv").named("accuracy"))
    decided(run, place / "test.tsv", Asked(), None, 0.05)
    again = headwise.load(run)
    assert again.classification.fitted.scope is not None
    assert again.tokenizer.max_windows == model.tokenizer.max_windows > 1  # as the golden records were made
    assert again.probabilities(long).tolist() == model.probabilities(long).tolist() and before


def test_several_labels_are_answered_where_the_whole_set_is_sure():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, (2_000, 2)).astype(np.float32)
    sure = random.uniform(0.2, 8, (2_000, 1))
    outputs = torch.tensor((2 * truth - 1) * sure + 2 * random.normal(size=truth.shape))
    task = TextClassification(("a", "b"), True).decided(SimpleNamespace(truth=truth), outputs, 0.1, None)
    answers = task.told(None, outputs)
    assert {one["abstains"] for one in answers} == {None, UNSURE}
    kept = np.array([one["abstains"] is None for one in answers])
    assert kept.sum() == task.fitted.rule.answered
    assert 0 < (task.decide(None, outputs)[kept] != truth[kept]).any(1).mean() <= 0.1
    assert all(not one["labels"] for one in answers if one["abstains"])
    with pytest.raises(InputError, match="leave out --false-alarms"):
        task.decided(SimpleNamespace(truth=truth), outputs, None, 0.05)
