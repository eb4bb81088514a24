"""Several seeds, runs that came to nothing, and the model card that says how to get the same again."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import headwise
from headwise.errors import InputError
from headwise.model_card import quoted
from headwise.tasks.text_classification import TextClassification
from headwise.training.loop import State


@pytest.fixture
def how(tmp_path, table, films, directory_of, monkeypatch):
    """What a run of a few steps takes."""
    table(tmp_path / "train.tsv", [(f"{text} {i}", label) for i in range(6) for text, label in films])
    table(tmp_path / "valid.tsv", [(f"{text} so", label) for text, label in films])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("headwise.finetune.FEW_STEPS", 1)
    return {"train": "train.tsv", "valid": "valid.tsv", "model": str(directory_of("bert")), "with_baselines": False}


def test_the_spread_over_seeds_is_told_and_the_best_is_kept(how, tmp_path, monkeypatch):
    monkeypatch.setattr(State, "collapsed", False)  # tiny runs may be, and are tried again
    done = headwise.train(**how, out="run", epochs=1, learning_rate=5e-3, seeds=3, quiet=True)
    runs = json.loads((tmp_path / "run/metrics.json").read_text())["seeds"]
    assert [one["seed"] for one in runs] == [42, 43, 44]
    best = max(runs, key=lambda one: one["validation"])
    assert done.report.verdicts[-1].scores.accuracy == best["scores"]["accuracy"]
    assert headwise.load("run").evaluate("valid.tsv").accuracy == best["scores"]["accuracy"]
    assert "Over seeds" in (tmp_path / "run/report.html").read_text()
    alone = headwise.train(**how, epochs=1, learning_rate=5e-3, seed=43, quiet=True)  # validation rows are given
    assert alone.report.verdicts[-1].scores.accuracy == runs[1]["scores"]["accuracy"]


def test_a_run_that_came_to_nothing_is_tried_again(how, monkeypatch, capsys):
    script = iter([True, False])
    monkeypatch.setattr(State, "collapsed", property(lambda state: next(script)))
    done = headwise.train(**how, epochs=1)
    said = "seed 42 came to nothing: every validation row gets the same answer; once more with 1042"
    assert said in capsys.readouterr().err
    assert said in done.report.notes
    assert dict(done.report.facts)["seed"] == "1042"


def test_it_is_not_tried_for_ever(how, monkeypatch):
    monkeypatch.setattr(State, "collapsed", property(lambda state: True))
    notes = headwise.train(**how, epochs=1, quiet=True).report.notes
    assert [note.split(" came")[0] for note in notes[-3:]] == ["seed 42", "seed 1042", "seed 2042"]
    assert "lower --learning-rate" in notes[-1]


def test_a_run_of_few_steps_is_told_to_train_longer_and_not_tried_again(how, monkeypatch, capsys):
    monkeypatch.setattr(State, "collapsed", property(lambda state: True))
    monkeypatch.setattr("headwise.finetune.FEW_STEPS", 50)
    notes = headwise.train(**how, epochs=1, quiet=True).report.notes
    assert ["train longer" in note for note in notes if " came to nothing" in note] == [True]
    assert capsys.readouterr().err.startswith("warning: seed 42 came to nothing")


def test_what_is_called_a_collapse():
    task, truth = TextClassification(("a", "b")), np.arange(20) % 2
    assert task.collapsed(truth, np.zeros(20, int))
    assert not task.collapsed(truth, truth)
    assert not task.collapsed((np.arange(20) == 0).astype(int), np.zeros(20, int))  # there is hardly any other
    several = replace(task, multi_label=True)
    assert several.collapsed(np.eye(2)[truth], np.ones((20, 2)))


def test_words_of_the_command_are_what_a_shell_reads_again():
    words = ["--delimiter", "\t", "a b.csv", "--label-separator", "'\t|", "好"]
    line = " ".join(map(quoted, words))
    assert line.isprintable()
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout.decode()
    assert said.split("\0")[:-1] == words


def test_the_command_of_the_card_makes_the_same_run(how, tmp_path, command):
    first = headwise.train(**how, out="run", epochs=1, class_weights={"good": 2.0, "bad": 1.0}, seed=7, quiet=True)
    card = (tmp_path / "run/README.md").read_text()
    for title in ("Scores", "Data", "Recipe", "Limits", "Again"):
        assert f"## {title}" in card
    assert f"{first.report.verdicts[-1].scores.accuracy:.4f} (" in card
    words = shlex.split(card[card.index("    headwise train") :])
    words[words.index("--out") + 1] = "again"
    assert command(*words[1:], "--no-baselines")[0] == 0
    cards = [json.loads((tmp_path / place / "headwise.json").read_text()) for place in ("run", "again")]
    assert cards[0] == cards[1]


def test_seeds_are_a_number(how):
    with pytest.raises(InputError, match="seeds is 0"):
        headwise.train(**how, seeds=0)
