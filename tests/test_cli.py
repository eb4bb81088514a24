"""The command line: what it does, and that every mistake is one line that says what to do."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file, save_file

import headwise
from headwise.errors import InputError
from headwise.reading.tables import read
from headwise.tasks import TASKS
from headwise.training.asked import Asked
from headwise.training.loop import Step
from headwise.training.recipe import Recipe
from headwise.training.tracking import trackers

WEIGHTS = "model.safetensors"
FAST = ["--learning-rate", "0.003", "--batch-size", "8", "--epochs", "40", "--patience", "99", "--eval-steps", "10"]

IN_HALF = ("--precision", "bfloat16")
HEADWISE = Path(sys.executable).with_name("headwise")
WRONG = {"HEADWISE_KERNELS": "fast"}


@pytest.fixture(scope="module")
def run(directory_of, films, table, tmp_path_factory):
    """A finished run, and the table it was trained on beside it."""
    place = tmp_path_factory.mktemp("cli")
    file = table(place / "films.tsv", films)
    how = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 40, "patience": 99, "eval_steps": 10}
    headwise.train(
        file, file, out=place / "run", model=str(directory_of("bert")), with_baselines=False, quiet=True, **how
    )
    return place / "run"


@pytest.fixture
def trained(directory_of, films, table, tmp_path, command):
    """headwise train on a table, with other words behind; every word is given as it stands."""

    def trained(*more, rows=films, file=None, model=None):
        file = file or table(tmp_path / "films.tsv", rows)
        given = [word for word in ("--out", "--valid") if word not in more]
        usual = {"--out": tmp_path / "run", "--valid": table(tmp_path / "dev.tsv", films)}
        words = [part for word in given for part in (word, usual[word])]
        return command("train", file, *words, "--model", model or directory_of("bert"), *more)

    return trained


def refused(answer, *told):
    """One line of error, the last one, which says all of this."""
    code, out, said = answer
    *notes, last = said.splitlines()
    assert code == 2 and out == "" and last.startswith("error: "), said
    assert not any(note.startswith(("error", "Traceback")) for note in notes)
    assert [part for part in told if part not in last] == [], last


# What it does


def test_train_says_what_it_guessed_and_how_well_it_went(trained, tmp_path):
    code, out, said = trained(*FAST)
    assert code == 0
    for note in (
        "task: text-classification, 2 labels",
        "language: Chinese and English",
        "leak: 8 texts",
        "train: 8 rows",
    ):
        assert note in said
    assert "step     40/40" in said and "nothing cut" in said
    for name in ("majority class", "TF-IDF", "before fine-tuning", "after fine-tuning", "report.html"):
        assert name in out
    assert "\x1b" not in out + said and "\r" not in said  # no colours and no bar in a file


def test_json_for_programs(trained, run, command):
    code, out, said = trained(*FAST, "--json", "--quiet", "--no-baselines")
    assert code == 0 and said == "" and out.count("\n") == 1
    code, scored, said = command("evaluate", run, run.parent / "films.tsv", "--json")
    assert code == 0 and said == ""
    for one in (json.loads(out, parse_constant=pytest.fail), json.loads(scored, parse_constant=pytest.fail)):
        assert json.dumps(one).count('"accuracy": 1.0') >= 1
    code, text, _ = command("evaluate", run, run.parent / "films.tsv")
    assert code == 0 and "accuracy" in text


def test_predict_answers_texts_and_lines(run, command, films, monkeypatch):
    texts = [text for text, _ in films[:2]]
    code, out, _ = command("predict", run, *texts)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [answer["label"] for answer in answers] == ["good", "bad"]
    assert answers == headwise.load(run).predict(texts)
    lines = io.TextIOWrapper(io.BytesIO("\n".join([texts[0], "", texts[1], ""]).encode()))
    monkeypatch.setattr(sys, "stdin", lines)
    refused(command("predict", run), "standard input, line 2: empty, expected a text")
    monkeypatch.setattr(sys, "stdin", None)  # <&-
    refused(command("predict", run), "standard input, line 1: empty")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join([*texts, "", ""]).encode())))
    assert [json.loads(line)["label"] for line in command("predict", run)[1].splitlines()] == ["good", "bad"]
    odd = f"{texts[0]}\u2028and {texts[1]}\x0cagain\r\n{texts[1]}"  # two lines
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(odd.encode())))
    assert len(command("predict", run)[1].splitlines()) == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\nCaf\xe9\n")))
    refused(command("predict", run), "standard input, line 2: not UTF-8", "iconv")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
def test_predict_keeps_every_column_of_a_table(kind, run, command, films, tmp_path):
    rows = {"id": ["007", "NA", ""], "text": [films[0][0], films[1][0], 'say "no", 好'], "label": ["good", "x", "?"]}
    first, second = tmp_path / f"asked.{kind}", tmp_path / f"answered.{kind}"
    headwise.reading.writing.write(first, rows)
    code, out, said = command("predict", run, "--input", first, "--output", second)
    assert code == 0 and out == "" and f"{second}: 3 rows written" in said
    if kind == "parquet":
        answers = pyarrow.parquet.read_table(second).to_pydict()
    else:
        records = read(second)
        answers = {name: records.table[name].to_pylist() for name in records.columns}
    assert list(answers) == ["id", "text", "label", "predicted_label", "score"]
    assert {name: answers[name] for name in rows} == rows
    expected = headwise.load(run).predict(rows["text"])
    assert answers["predicted_label"] == [answer["label"] for answer in expected]
    assert [float(score) for score in answers["score"]] == [answer["score"] for answer in expected]


def test_predict_prints_a_table_without_output_and_refuses_what_cannot_be(run, command, table, films, tmp_path):
    file = table(tmp_path / "asked.tsv", [(text,) for text, _ in films], "review")
    code, out, _ = command("predict", run, "--input", file, "--text-column", "review")
    assert code == 0 and len(out.splitlines()) == 8
    refused(command("predict", run, "a text", "--input", file), "texts or --input, not both")
    refused(command("predict", run, "--input", tmp_path / "no.csv"), "no.csv: no such file")
    refused(command("predict", tmp_path / "nothing", "a text"), "nothing: no such model directory")
    refused(command("predict", file, "a text"), "asked.tsv: is a file, expected the directory of a model")
    refused(command("predict", run, "a", "--output", tmp_path / "a.xlsx"), "a.xlsx", "use .csv, .tsv, .jsonl or .json")
    refused(command("predict", run, "a", "--output", tmp_path / "no/a.csv"), "a.csv", "cannot be written")


@pytest.mark.parametrize(
    ("encoding", "delimiter", "mark"),
    [("gb18030", ",", True), ("utf-8-sig", ";", True), ("utf-8", ",", False), ("utf-8", ";", False)],
)
def test_what_excel_wrote_is_answered_so_that_excel_reads_it(encoding, delimiter, mark, run, command, tmp_path):
    asked, answered, mended = tmp_path / "asked.csv", tmp_path / "answered.csv", tmp_path / "mended" / "asked.csv"
    rows = [("text", "来源"), ("这部电影很好看", "网站"), ('"情节;无聊，演员, 糟糕"', "网站")]
    asked.write_bytes("".join(f"{delimiter.join(row)}\n" for row in rows).encode(encoding))
    assert command("predict", run, "--input", asked, "--output", answered)[0] == 0
    begins = "\ufeff" * mark + delimiter.join(["text", "来源", "label"])
    assert answered.read_bytes().startswith(begins.encode())
    found = read(answered)
    assert found.columns == ("text", "来源", "label", "score") and found.table["text"][1].as_py() == rows[2][0][1:-1]
    assert command("check", asked, "--label-column", "来源", "--fix", mended.parent)[0] == 0
    assert mended.read_bytes().startswith(("\ufeff" * mark + delimiter.join(rows[0])).encode())


def test_predict_does_not_replace_the_table_that_it_reads(run, command, table, films, tmp_path):
    file = table(tmp_path / "films.tsv", films)
    before = file.read_bytes()
    same = tmp_path / "." / "films.tsv"
    refused(command("predict", run, "--input", file, "--output", same), "is the table itself; choose another --output")
    assert file.read_bytes() == before


def test_an_output_that_cannot_be_is_refused_before_predicting(run, command, tmp_path, monkeypatch):
    monkeypatch.setattr("headwise.model.Model.predict", pytest.fail)
    (tmp_path / "folder.csv").mkdir()
    for name, told in {
        "a.unknown": "use .csv, .tsv, .jsonl or .json",
        "no/a.csv": "there is no folder",
        "folder.csv": "is a folder",
        "a.tsv": "'a\\tb' holds a tab or line break",
    }.items():
        refused(command("predict", run, "a\tb", "--output", tmp_path / name), name, told)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize(("kind", "expected"), [("csv", str), ("tsv.gz", str), ("jsonl", list), ("parquet", list)])
def test_several_labels_stand_in_any_table(kind, expected, command, directory_of, films, table, tmp_path):
    rows = [(text, f"{label};{'long' if len(text) > 20 else 'short'}") for text, label in films]
    file, out = table(tmp_path / "films.tsv", rows), tmp_path / f"out.{kind}"
    words = ["--out", tmp_path / "run", "--model", directory_of("bert"), "--epochs", 2, "--no-baselines"]
    assert command("train", file, "--valid", file, *words, "--label-separator", ";")[0] == 0
    assert command("predict", tmp_path / "run", "--input", file, "--output", out)[0] == 0
    values = read(out).table["labels"].to_pylist()
    answers = [answer["labels"] for answer in headwise.load(tmp_path / "run").predict([text for text, _ in films])]
    assert values == ([";".join(answer) for answer in answers] if expected is str else answers)
    refused(command("train", file, *words, "--overwrite", "--label-separator", ""), "--label-separator is empty")


def test_a_model_is_asked_in_bfloat16_where_told_to(run, command, table, films, tmp_path):
    (status, first, _), (_, second, _) = (command("predict", run, "a fine film", *how) for how in ((), IN_HALF))
    one, other = json.loads(first), json.loads(second)
    assert status == 0 and one["label"] == other["label"] and 0 < abs(one["score"] - other["score"]) < 0.02
    assert command("evaluate", run, table(tmp_path / "t.tsv", films), *IN_HALF)[0] == 0
    with pytest.raises(InputError, match="precision is 'int4', expected float32 or bfloat16"):
        headwise.load(run, "int4")


def test_info_says_what_computes(command):
    status, said, _ = command("info")
    told = json.loads(command("info", "--json")[1])
    assert status == 0 and f"torch {torch.__version__}" in said and told["cores"] == os.cpu_count()
    assert "attention in float32" in told["kernels"] and told["extras"]["serve"] == []


def test_everything_written_out_gives_the_same_answers(run):
    def asked(*words):
        found = subprocess.run([HEADWISE, *words], capture_output=True, text=True, check=True)
        return json.loads(found.stdout)

    usual, plain = asked("predict", run, "a fine film"), asked("--kernels", "plain", "predict", run, "a fine film")
    assert plain["label"] == usual["label"] and plain["score"] == pytest.approx(usual["score"], abs=1e-5)
    assert asked("--kernels", "plain", "info", "--json")["kernels"]["attention in float32"] == "written out"
    wrong = subprocess.run([HEADWISE, "predict", run, "fine"], capture_output=True, env={**os.environ, **WRONG})
    assert wrong.returncode == 2 and b"HEADWISE_KERNELS" in wrong.stderr


def test_a_model_of_pairs_wants_pairs_and_one_of_texts_texts(run, command, directory_of, films, table, tmp_path):
    pairs = table(
        tmp_path / "pairs.tsv", [(text, text[:9], label) for text, label in films], "text_a", "text_b", "label"
    )
    words = ["--out", tmp_path / "pairs", "--model", directory_of("bert"), "--epochs", 1, "--no-baselines"]
    assert command("train", pairs, "--valid", pairs, *words)[0] == 0
    refused(command("predict", tmp_path / "pairs", "a text"), "trained on pairs of texts, found single ones")
    refused(command("predict", run, "--input", pairs), "trained on single texts, found pairs", "--text-column")
    assert command("predict", run, "--input", pairs, "--text-column", "text_a")[0] == 0
    assert command("predict", tmp_path / "pairs", "--input", pairs)[0] == 0


def test_what_standard_output_cannot_take(run, tmp_path):
    """A full disk is an error, a reader who has enough is none, and what has no letters there is escaped."""
    ask = [sys.executable, "-c", "from headwise.cli import main; main()", "predict", str(run), "a film"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(ask, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100)
    assert done.returncode == 2 and done.stderr.splitlines() == ["error: standard output: No space left on device"]
    ask[-2:] = [str(tmp_path / "文"), "a film"]
    done = subprocess.run(ask, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, timeout=100)
    assert done.returncode == 2 and rb"\u6587: no such model directory" in done.stderr


def test_no_control_character_of_a_file_reaches_the_terminal(command, table, films, tmp_path):
    file = table(tmp_path / "films.tsv", films, "te\x1b[31mxt", "label")
    _, _, said = command("train", file, "--out", tmp_path / "run", "--model", tmp_path / "no\x1b[31m")
    assert "\x1b" not in said
    _, _, said = command("train", file, "--out", tmp_path / "run", "--model", tmp_path, "--text-column", "te\x1b[31mxt")
    assert "\x1b" not in said


def test_version_help_and_unknown_words(command):
    from importlib.metadata import version

    assert command("--version") == (0, f"headwise {version('headwise')}\n", "")
    code, out, _ = command("--help")
    assert code == 0 and all(word in out for word in ("train", "evaluate", "predict"))
    for words, told in ((["nosuch"], "nosuch"), (["train", "x", "--foo"], "--foo"), (["train", "a.csv"], "out")):
        code, out, said = command(*words)
        assert code == 2 and told in said and "Traceback" not in said
    code, _, said = command("train", "a.csv", "--out", "b", "--epochs", "many")
    assert code == 2 and "--epochs" in said


def test_help_names_every_hyperparameter(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = command("train", "--help")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    options = {f"--{one.name.replace('_', '-')}" for kind in (Recipe, Asked) for one in fields(kind)}
    assert code == 0 and {one for one in options if one not in plain} == set()
    (task,) = (one for one in fields(Asked) if one.name == "task")
    assert task.metadata["help"].split(";")[0] == ", ".join(TASKS)


def test_every_hyperparameter_reaches_the_recipe(trained, tmp_path):
    given = {
        "learning_rate": 1e-3, "epochs": 1.0, "batch_size": 2, "gradient_accumulation_steps": 2, "optimizer": "sgd",
        "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-6, "momentum": 0.5, "weight_decay": 0.1,
        "layerwise_decay": 0.9, "lr_scheduler_type": "cosine", "warmup_ratio": 0.2, "max_grad_norm": 2.0,
        "dropout": 0.05, "label_smoothing": 0.1, "max_length": 20, "eval_steps": 2, "metric": "macro_f1",
        "patience": 3, "seed": 5, "precision": "float32", "lora_rank": 2, "frozen_layers": 1, "max_windows": 3,
    }  # fmt: skip
    words = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    code, _, said = trained(*words, "--class-weights", "good=2,bad=0.5", "--no-baselines")
    assert code == 0, said
    recipe = json.loads((tmp_path / "run/headwise.json").read_text())["recipe"]
    assert recipe == given | {"class_weights": {"good": 2.0, "bad": 0.5}, "few_shot": False}
    assert set(recipe) == {one.name for one in fields(Recipe)}


def test_without_other_files_rows_are_split_off(command, directory_of, films, table, tmp_path):
    file = table(tmp_path / "films.tsv", [(f"{text} {i}", label) for i in range(4) for text, label in films])
    words = ["--out", tmp_path / "run", "--model", directory_of("bert"), "--epochs", 1, "--no-baselines"]
    code, _, said = command("train", file, *words)
    assert code == 0 and "split by label with seed 42: train 26, validation 2, test 4 rows" in said, said


def test_tensorboard_gets_an_event_file(trained, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert trained("--epochs", 2, "--no-baselines", "--report-to", "tensorboard")[0] == 0
    (events,) = (tmp_path / "run/tensorboard").glob("events.out.tfevents*")
    found = EventAccumulator(str(events)).Reload()
    assert {"train/loss", "train/learning_rate", "train/grad_norm", "eval/loss", "eval/accuracy"} <= set(
        found.Tags()["scalars"]
    )
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2]
    headwise.load(tmp_path / "run")


def test_tensorboard_shows_each_step_of_a_run_that_went_on_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for loss, steps in enumerate((range(1, 6), range(4, 8))):  # stopped after step 5, its last checkpoint of step 3
        with trackers(["tensorboard"], tmp_path, {}) as (listen,):
            for step in steps:
                listen(Step(step, loss, 1e-3, 1.0, 1, 1.0))
        time.sleep(1)  # files are in order by the second of their names
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in found] == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1), (7, 1)]


def test_a_run_that_failed_behind_tensorboard_can_be_begun_again(trained, tmp_path):
    pytest.importorskip("tensorboard")
    hot = ["--optimizer", "sgd", "--learning-rate", 10, "--weight-decay", 10, "--max-grad-norm", 0, "--eval-steps", 99]
    refused(trained("--report-to", "tensorboard", *hot, "--epochs", 60, "--no-baselines"), "not finite")
    assert trained("--epochs", 1, "--no-baselines")[0] == 0


def test_weights_and_biases_offline(run, directory_of, tmp_path):
    pytest.importorskip("wandb")
    words = ["train", run.parent / "films.tsv", "--valid", run.parent / "films.tsv", "--out", tmp_path / "run"]
    words += ["--model", directory_of("bert"), "--epochs", "1", "--no-baselines", "--report-to", "wandb"]
    done = subprocess.run(
        [sys.executable, "-c", "from headwise.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env=os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))


# What it refuses: each in one line, and nothing is written

GOOD = "a fine film\tgood\n"
BAD_FILES = {
    "empty": ("", ["bad.tsv: the file is empty"]),
    "header only": ("text\tlabel\n", ["bad.tsv: a header and no rows; add rows"]),
    "one class only": (f"text\tlabel\n{GOOD * 3}", ["bad.tsv: column label holds one class only ('good')"]),
    "ragged row": (f"text\tlabel\n{GOOD}dull\n", ["bad.tsv, line 3: 1 fields, expected 2"]),
    "undecodable": (b"text\tlabel\na fine film\tgood\ncaf\xe9\tbad\n", ["bad.tsv, line 3: byte 0xE9", "iconv"]),
    "a NUL": (f"text\tlabel\n{GOOD}du\0ll\tbad\n", ["bad.tsv, line 3: a NUL character; remove it"]),
    "empty text": (
        f"text\tlabel\n{GOOD}\tbad\n  \tbad\n",
        ["bad.tsv, line 3: the text is empty (2 such", "--skip-empty"],
    ),
    "only empty texts": ("text\tlabel\n \tgood\n \tbad\n", ["bad.tsv, line 2: the text is empty"]),
    "two columns of one name": ("text\ttext\na\tb\n", ["bad.tsv, line 1: two columns are named 'text'"]),
}


@pytest.mark.parametrize(("content", "told"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_by_line(content, told, trained, tmp_path):
    (tmp_path / "bad.tsv").write_bytes(content.encode() if isinstance(content, str) else content)
    refused(trained(file=tmp_path / "bad.tsv"), *told)
    assert not (tmp_path / "run").exists()


def test_rows_without_text_can_be_left_out(trained, films):
    code, _, said = trained("--skip-empty", "--epochs", 1, "--no-baselines", rows=[*films, (" ", "good")])
    assert code == 0 and "films.tsv: 1 rows without text left out" in said and "train: 8 rows" in said


def test_files_columns_and_labels_that_are_not_there(trained, films, table, tmp_path):
    refused(trained(file=tmp_path / "no.tsv"), "no.tsv: no such file; check the path")
    refused(trained("--text-column", "review"), "films.tsv", "'review'", "text")
    refused(trained("--label-column", "stars"), "films.tsv", "'stars'", "label")
    dev = table(tmp_path / "odd.tsv", [*films[:2], ("slow", "so-so")])
    refused(trained("--valid", dev), "odd.tsv, line 4: label 'so-so' never occurs in training, which has 'bad', 'good'")
    other = table(tmp_path / "other.tsv", films, "review", "stars")
    refused(trained("--valid", other), "other.tsv: no column 'text', 'label' as in training", "rename what holds")
    slip = table(tmp_path / "slip.tsv", [*films[:2], ("slow", "goood")])
    refused(trained("--valid", slip), "'goood' never occurs", "did you mean 'good'?")
    lists = table(tmp_path / "lists.jsonl", [("a", ["good"]), ("b", ["bad"])])
    refused(trained("--valid", lists), "lists.jsonl: column label holds lists")
    assert not (tmp_path / "run").exists()


def test_too_few_rows_to_split(command, directory_of, films, table, tmp_path):
    file = table(tmp_path / "films.tsv", films[:2])
    refused(
        command("train", file, "--out", tmp_path / "run", "--model", directory_of("bert")),
        "films.tsv",
        "too few to split",
    )
    assert not (tmp_path / "run").exists()


BAD_OPTIONS = {
    "optimizer": (["--optimizer", "foo"], ["optimizer is 'foo', expected adamw or sgd"]),
    "dropout": (["--dropout", "2"], ["dropout is 2, expected 0 to 0.99"]),
    "batch size": (["--batch-size", "0"], ["batch_size is 0, expected 1"]),
    "learning rate": (["--learning-rate", "nan"], ["learning_rate is nan"]),
    "adam": (["--adam-beta2", "1"], ["adam_beta2 is 1"]),
    "metric": (["--metric", "f1"], ["metric 'f1': expected accuracy, macro_f1"]),
    "class weights": (
        ["--class-weights", "good:2"],
        ["--class-weights 'good:2': expected none, balanced or label=weight"],
    ),
    "class weights of others": (["--class-weights", "fine=2,bad=1"], ["no label is called 'fine'; the labels are"]),
    "tracker": (["--report-to", "mlflow"], ["--report-to mlflow: expected tensorboard or wandb"]),
    "model": (["--model", "./nowhere"], ["./nowhere: no such model directory"]),
    "model on the hub": (
        ["--model", "nobody/nothing"],
        ["nobody/nothing", "give a model directory, or --model minilm"],
    ),
}


@pytest.mark.parametrize(("words", "told"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_a_bad_option_is_refused_by_name(words, told, trained, tmp_path):
    refused(trained(*words), *told)
    assert not (tmp_path / "run").exists()


def config(place, **changes):
    file = place / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def weights(place, **changes):
    tensors = {name: one for name, one in (load_file(place / WEIGHTS) | changes).items() if one is not None}
    save_file(tensors, place / WEIGHTS, {"format": "pt"})


DENSE = "encoder.layer.1.output.dense.weight"
WORDS = "embeddings.word_embeddings.weight"
BAD_MODELS = {
    "another kind": (lambda place: config(place, model_type="gpt2"), ["model_type 'gpt2' is not supported"]),
    "a weight less": (lambda place: weights(place, **{DENSE: None}), [f"weight bert.{DENSE} is missing (1 in all)"]),
    "a weight more": (lambda place: weights(place, extra=torch.ones(2)), ["surplus weight extra"]),
    "another shape": (lambda place: weights(place, **{DENSE: torch.ones(3, 4)}), [f"{DENSE} has shape [3, 4]"]),
    "a pickle": (lambda place: (place / WEIGHTS).rename(place / "pytorch_model.bin"), ["pytorch_model.bin: a pickle"]),
    "no tokenizer": (
        lambda place: [(place / name).unlink() for name in ("tokenizer.json", "vocab.txt")], ["no tokenizer.json"]
    ),
    "infinite": (
        lambda place: weights(place, **{DENSE: torch.full((32, 64), float("inf"))}), [f"{DENSE} holds NaN or infinity"]
    ),
    "sizes that are none": (lambda place: config(place, hidden_size=-1), ["config.json: makes d_model '-1'"]),
    "sizes that divide nothing": (lambda place: config(place, num_attention_heads=0), ["config.json: holds something"]),
    "a family that is no word": (lambda place: config(place, model_type=["bert"]), ["is not supported, bert, "]),
    "a rate that is no number": (lambda place: config(place, layer_norm_eps="x"), ["config.json: makes eps 'x'"]),
    "a dropout of 7": (lambda place: config(place, hidden_dropout_prob=7), ["makes dropout 7, expected less than 1"]),
    "a range below 0": (lambda place: config(place, initializer_range=-1), ["initializer_range is below 0"]),
    "labels without numbers": (lambda place: config(place, id2label={"a": "b"}), ["id2label is", "names by number"]),
    "another tokenizer": (
        lambda place: config(weights(place, **{WORDS: load_file(place / WEIGHTS)[WORDS][:50]}) or place, vocab_size=50),
        ["the tokenizer has a token of number ", "the model 50 embeddings"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "told"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_bad_model_is_refused(damage, told, trained, directory_of, tmp_path):
    place = shutil.copytree(directory_of("bert"), tmp_path / "model")
    damage(place)
    refused(trained(model=place), *told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("baselines", ["--baselines", "--no-baselines"])
def test_weights_that_are_no_numbers_name_the_rows(baselines, trained, directory_of, tmp_path):
    place = shutil.copytree(directory_of("bert"), tmp_path / "model")
    weights(place, **{DENSE: torch.full((32, 64), 3e38)})  # whose products are infinite
    refused(trained(baselines, model=place), "films.tsv, line ", " and 3 more: ", "finite")


def test_a_learning_rate_too_high_names_file_lines_and_remedy(trained, tmp_path):
    hot = ["--optimizer", "sgd", "--learning-rate", 10, "--weight-decay", 10, "--max-grad-norm", 0, "--epochs", 60]
    answer = trained(*hot, "--momentum", 0.99, "--eval-steps", 99, "--no-baselines")
    refused(answer, "films.tsv, line ", "the loss is not finite at step ", "lower --learning-rate (now 10)")
    assert not (tmp_path / "run/model.safetensors").exists()


def test_a_weight_of_the_run_can_be_read_by_those_who_read_the_rest(trained, tmp_path):
    assert trained("--epochs", 1, "--no-baselines")[0] == 0
    assert len({file.stat().st_mode for file in (tmp_path / "run").iterdir()}) == 1


def test_an_out_that_cannot_be_is_said_before_the_baselines(trained, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("headwise.finetune.judged_before", pytest.fail)
    refused(trained("--out", tmp_path / "file/run"), "cannot be written", "choose another place")


def test_a_run_that_came_to_nothing_leaves_nothing(trained, tmp_path, directory_of):
    place = shutil.copytree(directory_of("bert"), tmp_path / "model")
    weights(place, **{DENSE: torch.full((32, 64), 3e38)})
    refused(trained("--no-baselines", model=place), "finite")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()  # the user's own
    refused(trained("--no-baselines", model=place), "finite")
    assert list((tmp_path / "run").iterdir()) == []


def test_trackers_that_fail_are_named_and_the_others_closed(trained, tmp_path, monkeypatch):
    closed = []
    good = (lambda event: None, lambda: closed.append(1))

    def broken(*_):
        raise RuntimeError("no key\nat all")

    monkeypatch.setattr("headwise.training.tracking.TRACKERS", {"tensorboard": lambda *_: good, "wandb": broken})
    both = ["--report-to", "tensorboard", "--report-to", "wandb", "--epochs", 1, "--no-baselines"]
    refused(trained(*both), "--report-to wandb failed (RuntimeError: no key); mend that, or leave the option out")
    assert closed == [1] and not (tmp_path / "run").exists()
    for fails in ((broken, good[1]), (good[0], broken)):  # while it listens, and when it is closed
        monkeypatch.setattr("headwise.training.tracking.TRACKERS", {"wandb": lambda *_, fails=fails: fails})
        answer = trained("--report-to", "wandb", *both[4:], "--overwrite")
        refused(answer, "--report-to wandb failed (RuntimeError: no key)")


def test_trackers_begin_anew_with_the_run_and_once_each(trained, tmp_path):
    pytest.importorskip("tensorboard")
    words = ["--epochs", 1, "--no-baselines", "--report-to", "tensorboard", "--report-to", "tensorboard"]
    assert trained(*words)[0] == 0 and trained(*words, "--overwrite")[0] == 0
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 1


def test_a_full_disk_is_said_and_nothing_is_left(trained, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    refused(trained("--epochs", 1, "--no-baselines"), "the disk is full, nothing was written; free some space")
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_what_stands_in_the_way_of_out_is_left_alone(trained, run, tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("mine")
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    refused(trained("--out", file), "file: is a file, expected a directory", "choose another --out")
    refused(trained("--out", file, "--overwrite"), "file: is a file")
    refused(trained("--out", other), "other: holds something that is not a run; choose another --out")
    refused(trained("--out", other, "--overwrite"), "other: holds something that is not a run")
    refused(trained("--out", run), "run: holds a finished run; choose another --out, or replace it with --overwrite")
    refused(trained("--out", run, "--resume"), "run: this run is finished, there is nothing to resume")
    (other / "checkpoints" / "step-00000001").mkdir(parents=True)
    refused(trained("--out", other), "holds an unfinished run; go on with --resume, or begin anew with --overwrite")
    assert file.read_text() == "mine" and {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_finished_run_can_be_replaced(trained, tmp_path):
    assert trained("--epochs", 1, "--no-baselines")[0] == 0
    assert trained("--epochs", 2, "--no-baselines", "--overwrite")[0] == 0
    assert json.loads((tmp_path / "run/headwise.json").read_text())["recipe"]["epochs"] == 2
    headwise.load(tmp_path / "run")


def test_a_directory_that_is_there_and_empty_will_do(trained, tmp_path):
    (tmp_path / "run").mkdir()
    assert trained("--epochs", 1, "--no-baselines")[0] == 0
