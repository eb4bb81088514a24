"""The battery for token classification: eight rows learnt, saved, reloaded, and read by transformers alike."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import headwise
from headwise.core.packed import Lengths, Packed
from headwise.errors import InputError
from headwise.reading.batches import Batch
from headwise.reading.columns import choose_columns
from headwise.reading.records import from_columns
from headwise.reading.tables import read
from headwise.reading.text import TextTokenizer
from headwise.reading.words import Words
from headwise.tasks import guessed
from headwise.tasks.text_classification import TextClassification
from headwise.tasks.token_classification import TokenClassification, commonest

FAST = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 60, "eval_steps": 10, "patience": 99, "quiet": True}
ROWS = [
    (["she", "smiles", "and", "the", "music", "plays"], ["B-PER", "O", "O", "B-ART", "I-ART", "O"]),
    (["nothing", "works", "in", "this", "story"], ["O", "O", "O", "B-ART", "I-ART"]),
    (["we", "laughed", "all", "the", "way", "home"], ["B-PER", "O", "O", "O", "O", "B-LOC"]),
    (["i", "left", "before", "the", "end"], ["B-PER", "O", "O", "O", "O"]),
    (list("这部电影很好看"), ["O", "O", "B-ART", "I-ART", "O", "O", "O"]),
    (list("情节无聊,演员糟糕"), ["B-ART", "I-ART", "O", "O", "O", "B-PER", "I-PER", "O", "O"]),
    (["a", "fine", "film", ",", "warm"], ["O", "O", "B-ART", "O", "O"]),
    (["dull", ",", "slow"], ["O", "O", "O"]),
]
TEXTS = ["she smiles and the music plays", "这部电影很好看", "dull , slow", ""]


@pytest.fixture(scope="module")
def run_of(directory_of, table, tmp_path_factory):
    """Train once for each family: the model in memory, its directory, its table."""
    made = {}

    def run(family):
        if family not in made:
            place = tmp_path_factory.mktemp(family)
            file = table(place / "rows.jsonl", ROWS, "tokens", "tags")
            model = headwise.train(file, file, out=place / "run", model=str(directory_of(family)), **FAST)
            made[family] = model, place / "run", file
        return made[family]

    return run


@pytest.mark.parametrize("family", ["bert", "roberta"])
class TestBattery:
    def test_it_learns_eight_rows_by_heart(self, family, run_of):
        model, _, file = run_of(family)
        assert model.labels == ("O", "B-ART", "I-ART", "B-LOC", "I-LOC", "B-PER", "I-PER")
        assert model.report.verdicts[-1].scores.f1 == 1.0
        assert model.evaluate(file).f1 == 1.0

    def test_reloaded_it_says_exactly_the_same(self, family, run_of):
        model, place, file = run_of(family)
        again = headwise.load(place)
        assert isinstance(again.task, TokenClassification)
        assert again.predict(TEXTS) == model.predict(TEXTS)
        assert again.evaluate(file) == model.evaluate(file)

    def test_spans_are_exact_parts_of_the_text(self, family, run_of):
        answers = run_of(family)[0].predict(TEXTS)
        for text, answer in zip(TEXTS, answers, strict=True):
            for one in answer["entities"]:
                assert text[one["start"] : one["end"]] == one["text"] and 0 < one["score"] <= 1
        told = [[(one["label"], one["text"]) for one in answer["entities"]] for answer in answers]
        assert told == [[("PER", "she"), ("ART", "the music")], [("ART", "电影")], [], []]

    def test_transformers_opens_the_directory_with_the_same_logits(self, family, run_of):
        from transformers import AutoModelForTokenClassification

        model, place, _ = run_of(family)
        theirs = AutoModelForTokenClassification.from_pretrained(place).eval()
        examples, outputs = model.asked(TEXTS)
        for row in range(len(TEXTS)):
            at = examples.tokens.places(np.array([row]))
            with torch.no_grad():
                logits = theirs(torch.from_numpy(examples.tokens.ids[at]).long()[None]).logits[0]
            assert torch.allclose(logits, outputs[at], atol=1e-4)
        assert theirs.config.id2label == dict(enumerate(model.labels))

    def test_the_run_holds_all_it_should(self, family, run_of):
        model, place, _ = run_of(family)
        card = json.loads((place / "headwise.json").read_text())
        assert card["task"] == "token-classification" and card["metrics"]["f1"] == 1.0
        metrics = json.loads((place / "metrics.json").read_text(), parse_constant=pytest.fail)
        assert metrics == json.loads(json.dumps(model.report.as_dict()))
        assert metrics["verdicts"][-1]["per_type"]["PER"]["support"] == 4
        assert metrics["verdicts"][0]["name"] == "each word's commonest tag"
        assert "Type by type" in (place / "report.html").read_text()
        assert "pipeline_tag: token-classification" in (place / "README.md").read_text()


def test_bert_reads_words_as_transformers_does(run_of):
    from transformers import AutoTokenizer

    model, place, _ = run_of("bert")
    words = [row for row, _ in ROWS[:4]]
    theirs = AutoTokenizer.from_pretrained(place)(words, is_split_into_words=True)
    texts = Words.of(from_columns({"tokens": words}), "tokens")
    examples = model.task.examples(model.tokenizer, texts)
    assert examples.tokens.ids.tolist() == [*chain(*theirs["input_ids"])]
    firsts = [theirs.word_ids(row).index(word) for row in range(4) for word in range(len(words[row]))]
    assert (examples.layout.read.first - np.repeat(examples.tokens.starts, list(map(len, words)))).tolist() == firsts


def test_the_command_line_trains_evaluates_and_predicts(run_of, directory_of, tmp_path, command):
    _, place, file = run_of("bert")
    out, short = tmp_path / "run", ("--epochs", 1, "--model", directory_of("bert"))
    status, printed, said = command("train", file, "--valid", file, "--out", out, *short)
    assert status == 0 and "task: token-classification, 3 types of entity" in said and "entity F1" in printed
    assert (
        command("train", file, "--valid", file, "--out", tmp_path / "b", "--json", "--metric", "recall", *short)[0] == 0
    )
    status, printed, _ = command("evaluate", place, file)
    assert status == 0 and "mistakes: wrong type 0" in printed
    assert json.loads(command("evaluate", place, file, "--json")[1])["verdicts"][-1]["f1"] == 1.0
    status, printed, _ = command("predict", place, TEXTS[0])
    assert json.loads(printed)["entities"][0]["text"] == "she"
    for name in ("a.csv", "a.jsonl", "a.tsv"):
        (tmp_path / "in.csv").write_text("text\n" + "\n".join(TEXTS[:3]).replace(" ,", "") + "\n")
        assert command("predict", place, "--input", tmp_path / "in.csv", "--output", tmp_path / name)[0] == 0
    lists = [json.loads(line)["entities"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    with (tmp_path / "a.csv").open() as lines:
        assert [json.loads(row["entities"]) for row in csv.DictReader(lines)] == lists
    assert lists[0][0]["text"] == "she" and lists[2] == []
    assert command("predict", place, "--input", file, "--output", tmp_path / "b.parquet")[0] == 0
    assert command("predict", place, "--input", file, "--output", tmp_path / "b.csv")[0] == 0
    written = read(tmp_path / "b.csv").table
    assert json.loads(written["tokens"][0].as_py()) == read(file).table["tokens"][0].as_py()


def test_a_text_longer_than_the_model_is_read_to_its_end(run_of):
    model, _, _ = run_of("bert")
    text = " ".join(["she smiles and the music plays ."] * 40)
    examples, _ = model.asked([text, "she smiles"])
    assert examples.counts[0] > 3 and len(examples) == 2
    told: list[int] = []
    assert model.predict([text], lambda done, _: told.append(done))[0]["entities"][-1]["end"] > len(text) - 60
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwise.core.transformer.HeadedEncoder.pass_tokens", 100)  # too long for one pass
        assert len(model.predict([text], lambda done, _: told.append(done))[0]["entities"]) > 40
    assert len(told) > 3


def test_windows_train_and_are_told(directory_of, table, tmp_path, capsys):
    words, tags = ([*chain(*some)] * 6 for some in zip(*ROWS[:4], strict=True))
    file = table(tmp_path / "long.jsonl", [(words, tags), *ROWS], "tokens", "tags")
    headwise.train(file, file, model=str(directory_of("bert")), epochs=1)
    assert "1 rows longer than 66 read in 3 windows" in capsys.readouterr().err


def test_the_loss_is_the_mean_over_first_tokens():
    task = TokenClassification(("O", "B-A", "I-A"))
    outputs = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([-100, 0, 2, -100, -100, 1, -100, 1, -100])
    ids = Packed(torch.zeros(9), Lengths((3, 2, 4)))
    losses = task.losses(outputs, Batch(ids, torch.zeros(9), targets, np.array([2, 1])))
    assert losses.shape == (2,)
    mean = losses.sum() / task.weights(targets.numpy()).sum()
    assert mean.item() == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-6)
    assert losses[1].item() == pytest.approx(F.cross_entropy(outputs[5:], targets[5:], reduction="sum").item())


def test_what_has_no_token_does_not_end_an_entity(directory_of):
    """A tokenizer makes nothing of some characters, of which a table may have made words."""
    tags = [["O", "B-ART", "I-ART", "I-ART", "O"], ["B-ART", "B-ART"]]
    records = from_columns({"tokens": [["a", "film", "\u200b", "music", "end"], ["home", "\u200b"]], "tags": tags})
    columns = choose_columns(records)
    task = TokenClassification.of_table(records, columns)
    texts, truth = task.texts(records, columns), task.truth(records, columns)
    examples = task.examples(TextTokenizer.read(directory_of("bert"), 66), texts, truth)
    assert (examples.layout.read.first < 0).sum() == 2
    outputs = F.one_hot(torch.from_numpy(examples.targets.values).clamp(min=0), 3).float()
    first, second = task.decide(examples, outputs)
    assert first == truth[0] and second == (truth[1][0], 0)


def test_the_commonest_tag_of_each_word():
    words = Words.of(from_columns({"tokens": [["in", "Rome"], ["Rome", "Rome"], ["Oslo"]]}), "tokens")
    answers = commonest(words, [(0, 1), (2, 1), (0,)], Words.of(from_columns({"tokens": [["Rome", "x"]]}), "tokens"))
    assert answers.tolist() == [(1, 0)]


def test_a_model_of_another_tool_answers_whatever_its_scheme(run_of, tmp_path):
    place = shutil.copytree(run_of("bert")[1], tmp_path / "run")
    (place / "headwise.json").unlink()
    assert headwise.load(place).predict(TEXTS) == run_of("bert")[0].predict(TEXTS)
    names = ["O", "B-ART", "E-ART", "S-LOC", "I-LOC", "U-PER", "L-PER"]
    config = json.loads((place / "config.json").read_text())
    config |= {"id2label": {str(i): name for i, name in enumerate(names)}}
    (place / "config.json").write_text(json.dumps(config))
    assert headwise.load(place).predict(TEXTS) == run_of("bert")[0].predict(TEXTS)
    assert headwise.load(place).evaluate(run_of("bert")[2]).f1 == 1.0


def test_another_scheme_is_converted_and_said(run_of, directory_of, table, tmp_path, capsys):
    short = {"B-PER": "S-PER", "B-LOC": "S-LOC", "B-ART": "B-ART", "I-ART": "E-ART", "O": "O"}
    rows = [(words, [short[tag] for tag in tags]) for words, tags in [*ROWS[:5], ROWS[7]]]
    file = table(tmp_path / "bioes.jsonl", rows, "tokens", "tags")
    assert run_of("bert")[0].evaluate(file).f1 == 1.0
    headwise.train(file, file, model=str(directory_of("bert")), epochs=1, with_baselines=False)
    assert "bioes.jsonl: the tags are BIOES, converted to IOB2" in capsys.readouterr().err


def test_a_table_of_lists_on_both_sides_is_guessed_to_be_for_this_task():
    from headwise.reading.columns import choose_columns

    lists = from_columns({"tokens": [["a"]], "tags": [["O"]]})
    assert guessed(lists, choose_columns(lists)) is TokenClassification
    texts = from_columns({"text": ["a"], "labels": [["good"]]})
    assert guessed(texts, choose_columns(texts)) is TextClassification


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(["a", "b"], ["O"])], "line 1: 2 words in column tokens, 1 tags in column tags"),
        ([(["a"], ["O"])], "column tags has no tag but O, nothing to learn"),
        ([(["a", "b"], ["B-X", "I-Y"])], "line 1: 'I-Y' after 'B-X' at word 2"),
        ([(["a", ""], ["B-X", "O"])], "line 1: word 2 of 2 in column tokens is ''"),
        ([(["a", "b"], ["N", "V"])], "expected O and B-TYPE, I-TYPE"),
        ([([], [])], "line 1: the text is empty"),
    ],
)
def test_tables_that_set_no_such_task_are_refused(rows, told, directory_of, table, tmp_path):
    file = table(tmp_path / "a.jsonl", rows, "tokens", "tags")
    with pytest.raises(InputError, match=told):
        headwise.train(file, file, model=str(directory_of("bert")), quiet=True)


def test_what_a_trained_model_cannot_do_is_refused(run_of, directory_of, table, tmp_path):
    model, _, _ = run_of("bert")
    with pytest.raises(InputError, match="line 1: type 'ORG' in column tags never occurs in training"):
        model.evaluate(table(tmp_path / "a.jsonl", [(["a"], ["B-ORG"])], "tokens", "tags"))
    plain = table(tmp_path / "b.jsonl", [("a", ["B-PER"])], "text", "tags")
    with pytest.raises(InputError, match="column text holds text, expected a list of words"):
        model.evaluate(plain)
    with pytest.raises(InputError, match="has no labels to choose from"):
        model.probabilities(["a text"])
    with pytest.raises(InputError, match="trained on single texts, found pairs"):
        model.predict([("a", "b")])
    file = run_of("bert")[2]
    with pytest.raises(InputError, match="class weights and label smoothing are of classes"):
        headwise.train(file, file, model=str(directory_of("bert")), class_weights="balanced", quiet=True)
    with pytest.raises(InputError, match="metric 'micro_f1': expected f1, precision"):
        headwise.train(file, file, model=str(directory_of("bert")), metric="micro_f1", quiet=True)


def test_what_predict_writes_can_be_learned_and_judged_by(run_of, table, tmp_path, directory_of, command):
    _, place, _ = run_of("bert")
    rows = table(tmp_path / "texts.tsv", [(text,) for text in TEXTS[:3]], "text")
    for name in ("answers.jsonl", "answers.csv"):
        file = tmp_path / name
        assert command("predict", place, "--input", rows, "--output", file)[0] == 0
        records = read(file)
        columns = choose_columns(records)
        assert (columns.text, columns.label, guessed(records, columns)) == ("text", "entities", TokenClassification)
        assert headwise.load(place).evaluate(file).f1 == 1.0
    model = headwise.train(file, file, model=str(directory_of("bert")), **FAST | {"epochs": 1})
    assert model.labels == ("O", "B-ART", "I-ART", "B-PER", "I-PER")
