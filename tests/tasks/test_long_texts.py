"""Long texts: a label that only the last words tell is learned through windows, and not where texts are cut."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.reading.text import TextTokenizer
from headwise.tasks.regression import Regression
from headwise.tasks.text_classification import TextClassification

FAST = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 60, "eval_steps": 10, "patience": 99, "quiet": True}
FILL = " and the music plays" * 20  # 80 words where the model reads 66 tokens


@pytest.fixture(scope="module")
def rows(films):
    return [(f"the story{FILL} {text}", label) for text, label in films]


@pytest.fixture(scope="module")
def run_of(directory_of, rows, table, tmp_path_factory):
    """A run that reads windows, and one that cuts: model, directory, table."""
    made = {}

    def run(most):
        if most not in made:
            place = tmp_path_factory.mktemp(f"windows-{most}")
            file = table(place / "rows.tsv", rows)
            how = FAST | {"max_windows": most, "with_baselines": most is None}
            made[most] = headwise.train(file, file, out=place / "run", model=str(directory_of("bert")), **how), place
        return *made[most], place_table(made[most][1])

    place_table = lambda place: place / "rows.tsv"  # noqa: E731
    return run


def test_windows_learn_what_stands_behind_the_limit(run_of, rows):
    model, _, file = run_of(None)
    assert model.tokenizer.max_windows == 16
    assert model.report.verdicts[-1].scores.accuracy == 1.0 == model.evaluate(file).accuracy
    with pytest.warns(UserWarning, match=r"cut at 66: 8 rows"):
        cut = run_of(1)[0].predict([text for text, _ in rows])
    assert len({answer["label"] for answer in cut}) == 1  # what it reads is the same in all
    assert any(
        "8 rows longer than 66 read in 16 windows, the longest window 66 of 66 possible, nothing cut" in note
        for note in model.report.notes
    )


def test_reloaded_it_says_exactly_the_same(run_of, rows):
    model, place, file = run_of(None)
    again, texts = headwise.load(place / "run"), [text for text, _ in rows]
    assert np.array_equal(again.probabilities(texts), model.probabilities(texts))
    assert again.predict(texts) == model.predict(texts)
    assert again.evaluate(file) == model.evaluate(file)


def test_a_text_does_not_depend_on_its_neighbours(run_of, rows):
    model, (long, _) = run_of(None)[0], rows[0]
    alone, among = model.probabilities([long])[0], model.probabilities(["dull", long, "a film", long])
    assert np.allclose(among[[1, 3]], alone, atol=1e-6)


def test_a_probability_is_that_of_the_mean_of_the_windows_logits_as_the_model_card_says(run_of, rows):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    ours, place, _ = run_of(None)
    run, text = place / "run", rows[0][0]
    code = (run / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {"tokenizer": AutoTokenizer.from_pretrained(run), "text": text}
    names["model"] = AutoModelForSequenceClassification.from_pretrained(run).eval()
    with torch.no_grad():
        exec(code, names)
    assert len(names["windows"]["input_ids"]) == 2
    cooled = names["logits"] / ours.task.fitted.temperature
    assert np.allclose(cooled.softmax(-1), ours.probabilities([text])[0], atol=1e-4)


def test_outputs_are_averaged_by_text_and_left_alone_where_each_has_one_window():
    task, outputs = TextClassification(("a", "b")), torch.tensor([[1.0, 2], [3, 6], [5, 1]])
    assert task.pooled(outputs, None) is outputs
    assert torch.equal(task.pooled(outputs, np.array([2, 1])), torch.tensor([[2.0, 4], [5, 1]]))


def test_numbers_are_read_in_windows_too_and_keep_their_unit(directory_of, rows):
    tokenizer = TextTokenizer.read(directory_of("bert"), 66, None, 16)
    task, truth = Regression(("score",), mean=5.0, spread=2.0), np.array([9.0, 5.0])
    examples = task.examples(tokenizer, [rows[0][0], "dull"], truth)
    assert examples.counts.tolist() == [2, 1] and examples.targets.tolist() == [2.0, 0.0] and examples.truth is truth
    outputs = task.pooled(torch.tensor([[1.0], [3.0], [-1.0]]), examples.counts)
    assert task.decide(examples, outputs).tolist() == [9.0, 3.0]


def test_windows_are_refused_where_a_text_has_more_than_one_answer(directory_of, table, tmp_path):
    rows = table(
        tmp_path / "a.jsonl", [(["a", "film"], ["O", "B-X"]), (["dull", "film"], ["O", "B-X"])], "tokens", "tags"
    )
    with pytest.raises(InputError, match=r"--max-windows is for tasks of one answer per text, token-classification is"):
        headwise.train(rows, rows, model=str(directory_of("bert")), max_windows=2, **QUICK)


def test_few_long_texts_are_cut_and_said(directory_of, rows, films, table, tmp_path):
    short = [(f"{text} {number}", label) for number in range(13) for text, label in films]
    model = headwise.train(
        table(tmp_path / "a.tsv", [*short, rows[0]]), table(tmp_path / "b.tsv", films), model=str(directory_of("bert")),
        epochs=0.1, with_baselines=False, quiet=True,
    )  # fmt: skip
    assert model.tokenizer.max_windows == 1
    assert any("cut at 66: 1 rows (1.0%) lose" in note for note in model.report.notes)


QUICK = {"epochs": 1, "with_baselines": False, "quiet": True}


def test_a_length_of_ones_own_cuts_and_with_windows_does_not(directory_of, films, table, tmp_path):
    file, model = table(tmp_path / "a.tsv", films), str(directory_of("bert"))
    assert headwise.train(file, file, model=model, max_length=8, **QUICK).tokenizer.max_windows == 1
    both = headwise.train(file, file, model=model, max_length=8, max_windows=3, **QUICK)
    assert both.tokenizer.max_windows == 3 and any("longer than 8 read in" in note for note in both.report.notes)


def test_where_nothing_is_long_later_texts_are_read_whole(directory_of, films, rows, table, tmp_path, recwarn):
    file = table(tmp_path / "a.tsv", films)
    model = headwise.train(file, file, model=str(directory_of("bert")), **QUICK)
    examples, outputs = model.asked([rows[0][0], "dull"])
    assert examples.counts.tolist() == [2, 1] and outputs.shape == (2, 2)
    assert not [one for one in recwarn if issubclass(one.category, UserWarning)]


def test_interrupted_and_resumed_windows_end_in_the_same_bits(directory_of, rows, table, tmp_path, monkeypatch):
    file, how = table(tmp_path / "a.tsv", rows), QUICK | {"epochs": 4, "batch_size": 4, "eval_steps": 2}
    whole = headwise.train(file, file, model=str(directory_of("bert")), **how)
    from headwise import finetune

    saves, save = [], finetune.save_checkpoint

    def save_twice(*given):
        save(*given)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "save_checkpoint", save_twice)
    with pytest.raises(KeyboardInterrupt):
        headwise.train(file, file, out=tmp_path / "run", model=str(directory_of("bert")), **how)
    monkeypatch.undo()
    again = headwise.train(file, file, out=tmp_path / "run", model=str(directory_of("bert")), resume=True, **how)
    theirs = again.checkpoint.model.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in whole.checkpoint.model.state_dict().items())


def test_explaining_a_long_text_is_refused(run_of, rows):
    with pytest.raises(InputError, match=r"longer than the 66 tokens the model reads; explain a part"):
        run_of(None)[0].explain(rows[0][0])


@pytest.mark.parametrize("found", [0, "many", True, 1.5])
def test_a_card_with_no_number_of_windows_is_refused(found, run_of, tmp_path):
    place = shutil.copytree(run_of(None)[1] / "run", tmp_path / "run")
    card = json.loads((place / "headwise.json").read_text())
    card["recipe"]["max_windows"] = found
    (place / "headwise.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"headwise\.json: max_windows is no number of windows"):
        headwise.load(place)


def test_directories_of_other_tools_are_read_in_windows_and_older_runs_cut(run_of, tmp_path):
    place = shutil.copytree(run_of(None)[1] / "run", tmp_path / "run")
    card = json.loads((place / "headwise.json").read_text())
    del card["recipe"]["max_windows"]
    (place / "headwise.json").write_text(json.dumps(card))
    assert headwise.load(place).tokenizer.max_windows == 1
    (place / "headwise.json").unlink()
    assert headwise.load(place).tokenizer.max_windows == 16


def test_the_command_line_says_what_it_cuts(run_of, rows, command, tmp_path):
    _, place, file = run_of(1)
    with pytest.warns(UserWarning, match="asked: 1 rows, 66 tokens, 66 a row; cut at 66"):
        status, out, _ = command("predict", place / "run", rows[0][0])
    assert status == 0 and json.loads(out)["label"] in ("good", "bad")
    assert warnings.formatwarning("cut", UserWarning, "model.py", 1) == "warning: cut\n"
    status, _, said = command("evaluate", place / "run", file)
    assert status == 0 and "cut at 66: 8 rows" in said
    status, _, said = command("train", file, "--out", tmp_path / "x", "--max-windows", "0")
    assert status == 2 and "max_windows is 0, expected 1 or more" in said
