"""headwise words and headwise heads, on a tiny model that was just trained."""

from __future__ import annotations

import json

import pytest

import headwise


@pytest.fixture(scope="module")
def run(directory_of, table, tmp_path_factory):
    """A run on texts where 'fine' makes the label good, and their table."""
    place = tmp_path_factory.mktemp("survey")
    fillers = ["music story film", "left the end", "we laughed home", "this story and music", "film works , she plays"]
    rows = [(f"{text} {word} {text}", label) for text in fillers for word, label in (("fine", "good"), ("dull", "bad"))]
    file = table(place / "rows.tsv", rows * 2)
    how = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 30, "patience": 99, "eval_steps": 10}
    headwise.train(
        file, file, out=place / "run", model=str(directory_of("bert")), with_baselines=False, quiet=True, **how
    )
    return place / "run"


def test_the_words_that_drive_each_label(run, command):
    file = run.parent / "rows.tsv"
    code, out, _ = command("words", run, file, "--json")
    bad, good = json.loads(out)
    assert code == 0 and (bad["label"], good["label"], good["texts"]) == ("bad", "good", 10)
    assert bad["words"][0]["word"] == "dull" and good["words"][0]["word"] == "fine"
    assert good["words"][0]["low"] > 0 and good["words"][0]["count"] == 10
    code, out, said = command("words", run, file, "--label", "good", "--method", "gradient_x_input", "--least-texts", 9)
    assert code == 0 and out.startswith("good: what drives 10 texts, by gradient_x_input")
    assert "\x1b" not in out + said


def test_a_text_without_words_drives_nothing(run, command, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("text,id\na fine film,1\n,2\n\u200b,3\n", encoding="utf-8")
    code, out, said = command("words", run, file, "--json", "--least-texts", 1)
    assert code == 0 and "fine" in out, said


def test_the_heads_that_matter(run, command, tmp_path):
    code, out, _ = command("heads", run, run.parent / "rows.tsv", "--json", "--png", tmp_path / "heads.png")
    told = json.loads(out)
    assert code == 0 and len(told["heads"]["order"]) == 8 and told["heads"]["rows"] == told["pruning"]["rows"] == 10
    assert (tmp_path / "heads.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = command("heads", run, run.parent / "rows.tsv")
    assert code == 0 and "without the least important heads, on 10 other rows" in out
    code, out, said = command("heads", run, run.parent / "rows.tsv", "--png", tmp_path / "no" / "heads.png")
    assert code == 2 and "heads.png: cannot be written" in said and not out  # before the work is done


def test_heads_of_a_model_that_is_no_classifier(command, table, films, directory_of, tmp_path):
    file = table(tmp_path / "rows.tsv", [(text, row / 2) for row, (text, _) in enumerate(films)], "text", "score")
    how = {"model": str(directory_of("bert")), "with_baselines": False, "quiet": True, "epochs": 1}
    headwise.train(file, file, out=tmp_path / "run", task="regression", **how)
    code, out, said = command("heads", tmp_path / "run", file, "--png", tmp_path / "heads.png")
    assert code == 0 and "Pearson" in out, said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["words", "--label", "ugly"], "label 'ugly' is not one of the model's: 'bad', 'good'"),
        (["words", "--method", "guess"], "method 'guess' is not one of 'gradient_x_input'"),
        (["words", "--least-texts", "0"], "--least-texts 0: expected 1 or more"),
    ],
)
def test_mistakes_are_one_line(run, command, words, told):
    name, *more = words
    code, out, said = command(name, run, run.parent / "rows.tsv", *more)
    assert code == 2 and out == "" and said.splitlines()[-1].startswith("error: ") and told in said.splitlines()[-1]


def test_a_label_no_text_gets_and_a_single_row(run, command, table, tmp_path):
    file = table(tmp_path / "one.tsv", [("fine film", "good")])
    code, _, said = command("words", run, file, "--label", "bad")
    assert code == 2 and "no text gets label 'bad'" in said
    code, _, said = command("heads", run, file)
    assert code == 2 and "one row; to rank heads and to judge pruning two are needed" in said
