"""The battery for answers in a context: learned by heart, saved, asked again, opened by transformers, refused."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import headwise
from headwise.core.packed import Lengths, Packed
from headwise.errors import InputError
from headwise.reading.answers import Answer
from headwise.reading.batches import Batch, Examples
from headwise.reading.contexts import Windows, in_windows
from headwise.reading.text import TextTokenizer, Tokens
from headwise.tasks.question_answering import QuestionAnswering, best_pieces, best_threshold, furthest, places, trimmed
from headwise.training.asked import Asked
from headwise.training.data import read_data

FAST = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 80, "eval_steps": 20, "patience": 99, "quiet": True}
RUNS = [("bert", "squad"), ("roberta", "squad"), ("bert", "csv"), ("bert", "none"), ("bert", "windows")]
ROWS = [
    ("how long", "dull , slow and far too long", "far too long"),
    ("and what plays", "she smiles and the music plays", "the music"),
    ("what works", "nothing works in this story", "nothing"),
    ("how fine", "a fine film , warm and funny", "warm and funny"),
    ("how far", "we laughed all the way home", "all the way"),
    ("who left", "i left before the end", "i"),
    ("电影", "这部电影很好看", "这部电影很好看"),
    ("演员", "情节无聊,演员糟糕", "情节无聊"),
]
QUIET = {"with_baselines": False, "quiet": True, "epochs": 1}


def rows_of(kind):
    """Questions, contexts and answers: some without one, or in contexts of several windows."""
    rows = list(ROWS)
    if kind == "none":
        rows[1], rows[4] = (*rows[1][:2], ""), (*rows[4][:2], "")
    if kind == "windows":
        before, after = "nothing works in this story , dull and slow , ", " . i left before the end , all the way home"
        rows = [(asked, before + text + after, answer) for asked, text, answer in rows]
    return rows


def table_of(kind, place):
    """The rows as a .csv with a place, or as SQuAD has them in a .jsonl."""
    rows = rows_of(kind)
    if kind == "csv":
        file = place / "rows.csv"
        with file.open("w", newline="", encoding="utf-8") as target:
            lines = [(*row, row[1].find(row[2])) for row in rows]
            csv.writer(target).writerows([("question", "context", "answer", "answer_start"), *lines])
        return file
    file = place / "rows.jsonl"
    with file.open("w", encoding="utf-8") as target:
        for asked, context, answer in rows:
            there = [answer] if answer else []
            answers = {"text": there, "answer_start": [context.rfind(one) for one in there]}
            target.write(json.dumps({"question": asked, "context": context, "answers": answers}) + "\n")
    return file


@pytest.fixture(scope="module")
def run_of(directory_of, tmp_path_factory):
    """Train once for each family and kind: the model in memory, its directory, its table."""
    made = {}

    def run(family, kind):
        if (family, kind) not in made:
            place = tmp_path_factory.mktemp(f"{family}-{kind}")
            file = table_of(kind, place)
            extra = {"max_length": 24} if kind == "windows" else {}
            model = headwise.train(file, file, out=place / "run", model=str(directory_of(family)), **FAST, **extra)
            made[family, kind] = model, place / "run", file
        return made[family, kind]

    return run


@pytest.mark.parametrize(("family", "kind"), RUNS)
class TestBattery:
    def test_it_learns_eight_rows_by_heart(self, family, kind, run_of):
        model, _, file = run_of(family, kind)
        assert model.report.verdicts[-1].scores.exact_match == 1.0
        assert model.evaluate(file).f1 == 1.0
        assert 0 < model.report.verdicts[0].scores.f1 < 1

    def test_reloaded_it_says_exactly_the_same(self, family, kind, run_of):
        model, place, file = run_of(family, kind)
        again, asked = headwise.load(place), [row[:2] for row in rows_of(kind)]
        answers = again.predict(asked)
        assert answers == model.predict(asked) and again.evaluate(file) == model.evaluate(file)
        for (_, context, right), given in zip(rows_of(kind), answers, strict=True):
            assert given["answer"] == context[given["start"] : given["end"]] == right
            assert 0 < given["score"] <= 1

    def test_transformers_opens_the_directory_with_the_same_logits(self, family, kind, run_of):
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        model, place, _ = run_of(family, kind)
        asked = [row[:2] for row in rows_of(kind)]
        tokenizer, theirs = AutoTokenizer.from_pretrained(place), AutoModelForQuestionAnswering.from_pretrained(place)
        how = {"max_length": model.tokenizer.max_length, "truncation": "only_second", "stride": 5}
        given = tokenizer(*map(list, zip(*asked, strict=True)), **how, return_overflowing_tokens=True, padding=True)
        given.pop("overflow_to_sample_mapping")
        given = given.convert_to_tensors("pt")
        with torch.no_grad():
            found = theirs.eval()(**given)
        examples, outputs = model.asked(asked)
        real = given["attention_mask"].bool()
        logits = torch.stack([found.start_logits[real], found.end_logits[real]], -1)
        assert len(examples) == len(real) > (8 if kind == "windows" else 7)
        assert torch.allclose(logits, outputs, atol=1e-3) and outputs.std() > 0.5
        assert theirs.config.id2label == {0: "start", 1: "end"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_command_line_trains_evaluates_and_answers_a_table(suffix, run_of, directory_of, tmp_path, command):
    file = run_of("bert", "csv")[2]
    run = tmp_path / "run"
    trained = ("train", file, "--valid", file, "--out", run, "--model", directory_of("bert"), "--epochs", 1)
    status, told, said = command(*trained, "--json")
    assert status == 0 and json.loads(told)["metric"] == "f1", said
    status, told, said = command("evaluate", run_of("bert", "csv")[1], file, "--json")
    assert status == 0 and json.loads(told)["verdicts"][0]["exact_match"] == 1.0, said
    status, told, said = command("predict", run_of("bert", "csv")[1], "--input", file)
    assert [json.loads(line)["answer"] for line in told.splitlines()] == [row[2] for row in ROWS], said
    out = tmp_path / f"answers.{suffix}"
    assert command("predict", run_of("bert", "csv")[1], "--input", file, "--output", out)[0] == 0
    written = headwise.reading.read(out).table.to_pydict()
    assert written["predicted_answer"] == written["answer"] == [row[2] for row in ROWS]
    assert written["start"] == written["answer_start"]


def test_no_answer_is_learned_and_its_threshold_kept(run_of):
    model, place, _ = run_of("bert", "none")
    card = json.loads((place / "headwise.json").read_text())
    assert isinstance(card["settings"]["threshold"], float)
    assert headwise.load(place).task.threshold == model.task.threshold
    silent = model.predict([ROWS[1][:2]])[0]
    assert (silent["answer"], silent["start"], silent["end"]) == ("", 0, 0)
    assert run_of("bert", "squad")[0].task.threshold is None
    card["settings"]["threshold"] = "high"
    other = place.parent / "odd"
    model.save(other)
    (other / "headwise.json").write_text(json.dumps(card | {"sha256": {}}))
    with pytest.raises(InputError, match=r"headwise\.json: threshold is .high. and longest 30, expected"):
        headwise.load(other)


def test_what_it_is_unsure_of_is_kept_back_once_that_is_decided(run_of, tmp_path, command):
    place = run_of("bert", "csv")[1]
    run = shutil.copytree(place, tmp_path / "run")
    before = headwise.load(run).predict([row[:2] for row in ROWS])
    least = min(range(len(ROWS)), key=lambda row: before[row]["score"])
    rows = [(*row[:2], row[1][:1] if number == least else row[2]) for number, row in enumerate(ROWS)] * 40
    with (tmp_path / "unseen.csv").open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([("question", "context", "answer"), *rows])
    assert "out --false-alarms" in command("decide", run, tmp_path / "unseen.csv", "--false-alarms", 0.1)[2]
    status, told, said = command("decide", run, tmp_path / "unseen.csv", "--most-error", 0.05)
    assert status == 0 and "280 of 320 rows, 0 of them wrong" in told, said
    after = headwise.load(run).predict([row[:2] for row in ROWS])
    kept_back = before[least] | {"answer": "", "start": 0, "end": 0, "abstains": "unsure"}
    assert after == [kept_back if number == least else one | {"abstains": None} for number, one in enumerate(before)]
    told = json.loads(command("evaluate", run, tmp_path / "unseen.csv", "--json")[1])
    assert [(one["name"], one["rows"], one["wrong"]) for one in told["when_to_answer"]][:2] == [
        ("answered", 280, 0.0),
        ("unsure", 40, 1.0),
    ]
    assert told["verdicts"][0]["exact_match"] == 0.875  # scores are of all answers


def test_a_directory_of_other_tools_is_asked_and_trained_on(tiny, directory_of, run_of, tmp_path):
    place = tmp_path / "theirs"
    config = json.loads((directory_of("bert") / "config.json").read_text())
    peer = tiny("Bert", "ForQuestionAnswering", num_labels=2, **{"vocab_size": config["vocab_size"]})
    peer.save_pretrained(place)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / name).write_bytes((directory_of("bert") / name).read_bytes())
    model = headwise.load(place)
    asked, context, _ = ROWS[0]
    given = model.predict([(asked, context)])[0]
    assert given["answer"] and given["answer"] == context[given["start"] : given["end"]]
    with pytest.raises(InputError, match="row 1: expected a question and its context, found 'how long'"):
        model.predict(["how long"])
    slow = {"learning_rate": 1e-9, "model": str(place)}
    again = headwise.train(run_of("bert", "csv")[2], run_of("bert", "csv")[2], **QUIET, **slow)
    assert torch.allclose(again.asked([(asked, context)])[1], model.asked([(asked, context)])[1], atol=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("who", "i left", "you"), r"line 3: the answer 'you' is not in its context; an answer is a piece"),
        (("who", "i left", {"text": ["we"], "answer_start": [2]}), r"line 3: .*'we' is not .* \(at 2 stands 'le'\)"),
        (("who", "i left", {"text": ["i"], "answer_start": ["x"]}), r"line 3: .*: its place is 'x', expected a number"),
        (("who", "i left", {"text": ["i"], "answer_start": [0, 2]}), r"line 3: .*: 1 texts and 2 places"),
        ((" ", "i left", "i"), r"line 3: the text in column question is empty"),
        (("who", "", "i"), r"line 3: the text in column context is empty"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused(row, told, table, tmp_path):
    whole = row[2] if isinstance(row[2], dict) else {"text": [row[2]]}
    good = (*ROWS[0][:2], {"text": [ROWS[0][2]]})
    one = table(tmp_path / "a.jsonl", [good, (*row[:2], whole), good], "question", "context", "answers")
    one.write_text("\n" + one.read_text())
    with pytest.raises(InputError, match=told):
        headwise.train(one, one, **QUIET)


def test_tables_without_answers_or_contexts_are_refused(table, tmp_path):
    none = table(tmp_path / "a.jsonl", [(*row[:2], "") for row in ROWS], "question", "context", "answers")
    with pytest.raises(InputError, match="column answers holds no answer at all"):
        headwise.train(none, none, **QUIET)
    single = table(tmp_path / "b.jsonl", [row[1:] for row in ROWS], "text", "answers")
    with pytest.raises(InputError, match="no column of contexts; name it with --pair-column"):
        headwise.train(single, single, task="question-answering", **QUIET)


def test_a_question_that_leaves_no_room_is_refused(run_of):
    model = run_of("bert", "windows")[0]
    with pytest.raises(InputError, match=r"row 2: the question 'the end the end.* has 12 tokens, half of .* is 10"):
        model.predict([ROWS[0][:2], ("the end " * 6, "the end")])


def test_what_was_mended_is_said(directory_of, table, tmp_path, capsys):
    rows = [
        ("who", "i left before i", {"text": ["i"], "answer_start": [12]}),
        ("who", "i left before i", {"text": ["i"]}),
        ("who", "i left", {"text": ["i", "we"], "answer_start": [0, -1]}),
        ("how", "far too long", "far"),
    ]
    one = table(tmp_path / "a.jsonl", rows, "question", "context", "answers")
    headwise.train(one, one, model=str(directory_of("bert")), **QUIET | {"quiet": False})
    said = capsys.readouterr().err
    assert "a.jsonl: 1 of 5 answers did not stand where they were said to" in said
    assert "a.jsonl: 1 of 5 answers stand in their contexts several times, and the first place was taken" in said
    assert "a.jsonl: 1 of 5 answers are not in their contexts" in said


# The loss, targets and spans


def test_the_loss_is_that_of_transformers():
    lengths, targets = (5, 9, 3), torch.tensor([[1, 3], [0, 0], [2, 2]])
    outputs = torch.randn(sum(lengths), 2, generator=torch.Generator().manual_seed(0))
    batch = Batch(Packed(torch.zeros(sum(lengths), dtype=torch.long), Lengths(lengths)), None, targets, None)
    found = QuestionAnswering().losses(outputs, batch)
    for loss, logits, target in zip(found, outputs.split(lengths), targets, strict=True):
        theirs = (F.cross_entropy(logits[None, :, 0], target[:1]) + F.cross_entropy(logits[None, :, 1], target[1:])) / 2
        assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)


def test_a_context_of_nothing_has_no_answer_and_a_finite_score(run_of):
    model = run_of("bert", "squad")[0]
    (found,) = model.predict([("how long", "\u200b")])
    assert found == {"answer": "", "start": 0, "end": 0, "score": 1.0}
    with pytest.raises(InputError, match="the context holds nothing that the model's tokenizer knows"):
        model.explain(("how long", "\u200b"))


def test_an_answer_keeps_its_accents():
    assert trimmed("by Jose\u0301 Garcia", 3, 7) == Answer("Jose\u0301", 3)
    assert trimmed("by Jose ", 2, 8) == Answer("Jose", 3) and trimmed("Jose\u0301", 0, 0).text == ""


def test_targets_point_at_the_answer_in_every_window_that_holds_it_whole(directory_of):
    tokenizer = TextTokenizer.read(directory_of("bert"), 12)
    context = "she smiles and the music plays , we laughed all the way home and far too long"
    answer = Answer("laughed all", context.index("laughed"))
    tokens, layout = in_windows(tokenizer, [("i", context), ("i", "the end")])
    found = places(tokens.starts, layout, [answer, None])
    assert len(layout.row) > 3 and list(layout.firsts) == [0, len(layout.row) - 1]
    held = 0
    for window, (one, other) in enumerate(found[:-1]):
        first, length = tokens.starts[window], tokens.lengths[window]
        inside = layout.spans[first : first + length]
        whole = inside[inside[:, 0] >= 0, 0].min() <= answer.start and inside[:, 1].max() >= answer.end
        assert whole == (one > 0)
        if whole:
            assert context[inside[one, 0] : inside[other, 1]] == answer.text
            held += 1
    assert held >= 1 and found[-1].tolist() == [0, 0]
    covered = np.zeros(len(context), bool)
    for one, other in layout.spans[: tokens.starts[-1]]:
        covered[max(one, 0) : max(other, 0)] = True
    assert all(done or letter == " " for done, letter in zip(covered, context, strict=True))


def test_the_best_piece_is_found_over_all_windows_and_probabilities_are_of_one():
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(16, 2, generator=generator) * 2
    spans = np.full((16, 2), -1, np.int32)  # two windows of one context, one of another; two special tokens first
    for window, (first, length, start) in enumerate([(0, 6, 0), (6, 6, 2), (12, 4, 0)]):
        at = np.arange(start, start + length - 2)
        spans[first + 2 : first + length] = np.stack([at, at + 1], 1)
        assert window < 3
    tokens = Tokens(np.zeros(16, np.int32), np.zeros(16, np.int8), np.array([6, 6, 4]), np.zeros(3, int), None)
    row = np.array([0, 0, 1])
    examples = Examples(tokens, layout=Windows(["abcdef", "gh"], row, spans), origin=row)
    found = best_pieces(examples, outputs, 3, or_none=False)
    begin, end = outputs.double().numpy().T
    sets = [[(2, 6), (8, 12)], [(14, 16)]]
    for number, windows_of_it in enumerate(sets):
        at = [place for one in windows_of_it for place in range(*one)]
        every = {
            (i, j): begin[i] + end[j] for low, high in windows_of_it for i in range(low, high)
            for j in range(i, min(i + 3, high))
        }  # fmt: skip
        i, j = max(every, key=every.get)
        context = examples.layout.contexts[number]
        assert found.answers[number].text == context[spans[i, 0] : spans[j, 1]]
        assert found.score[number] == pytest.approx(every[i, j])
        assert found.total[number] == pytest.approx(np.log(np.exp(begin[at]).sum() * np.exp(end[at]).sum()))
    assert found.none == pytest.approx([min(begin[0] + end[0], begin[6] + end[6]), begin[12] + end[12]])


def test_pieces_stay_inside_their_window_and_below_their_length():
    begin, end = np.array([0.0, 0, 9, 0]), np.array([0.0, 0, 0, 5])
    assert furthest(begin, end, np.array([0, 0, 0, 0]), 2)[1].tolist() == [0, 0, 1, 0]
    assert furthest(begin, end, np.array([0, 0, 0, 1]), 2)[1].tolist() == [0, 0, 0, 0]
    assert furthest(begin, end, np.array([0, 0, 0, 0]), 4)[1].tolist() == [3, 2, 1, 0]


def test_the_threshold_gives_the_best_f1():
    random = np.random.default_rng(0)
    for _ in range(20):
        margin, gain = random.normal(size=30), random.choice([-1.0, 0.0, 0.4, 1.0], 30)
        reached = gain[margin <= best_threshold(margin, gain)].sum()
        assert reached == pytest.approx(max(gain[margin <= edge].sum() for edge in (-9, *margin)))


def test_a_random_split_puts_no_context_in_two_parts(table, tmp_path):
    rows = [(f"{asked} {i}", f"{context} {i % 10}", answer) for i in range(40) for asked, context, answer in ROWS[:2]]
    file = table(tmp_path / "rows.jsonl", rows, "question", "context", "answers")
    data = read_data(file, None, None, Asked(), 1, {})
    contexts = [set(part.texts.second.to_pylist()) for part in data.parts]
    assert sum(map(len, contexts)) == len(set.union(*contexts)) == 20
    assert any("no context in two parts" in note for note in data.notes)
