"""An exported model answers as the one it was made from, or there is none."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict

import pytest
import torch

import headwise
from headwise import export as exporting
from headwise.core.padded import Cells, Padded
from headwise.core.transformer import Dropout
from headwise.errors import InputError
from headwise.export import export
from headwise.families.engines import ENGINES
from headwise.families.graph import Traced, write_graph
from headwise.golden import GOLDEN, deviation, read_golden
from headwise.reading.text import TextTokenizer
from headwise.serving.models import opened
from headwise.training.asked import Asked
from headwise.trust import decided

FILMS = ["a fine film , warm and funny", "dull , slow and far too long", "fine"]
TEXTS = {
    "pairs": [(text, text[::-1]) for text in FILMS],
    "questions": [("how long", f"{text} , far too long") for text in FILMS],
    "masked": ["a fine [MASK] , warm", "[MASK]", "dull [MASK] [MASK]"],
}


@pytest.fixture(autouse=True)
def tracing(traced_once, monkeypatch):
    monkeypatch.setattr(exporting, "write_graph", traced_once)


def traced_anew(monkeypatch):
    monkeypatch.setattr(exporting, "write_graph", write_graph)


@pytest.fixture(scope="module")
def place_of(run_of, masked):
    return lambda name: masked if name == "masked" else run_of(name)


TASKS = ["films", "tagger", "pairs", "stars", "faq", "questions", "several", "masked"]
BOTH = [*(("onnxruntime", name) for name in TASKS), *(("openvino", name) for name in ("films", "faq", "questions"))]


@pytest.mark.parametrize(("engine", "name"), BOTH)
def test_a_model_of_every_task_is_exported_and_answers_alike(engine, name, place_of, tmp_path):
    found, notes = export(place_of(name), tmp_path / "onnx", engine=engine)
    assert found.records == 32 and found.records_otherwise == 0 and found.farthest < 1e-4
    assert bool(notes) == (name == "masked")  # other tools store no golden records
    run, graph = headwise.load(place_of(name)), headwise.load(tmp_path / "onnx")
    assert not list((tmp_path / "onnx").glob("*.safetensors")) and graph.task.settings == run.task.settings
    texts = [*TEXTS.get(name, FILMS)]
    assert deviation(run.predict(texts), graph.predict(texts)) < (1, 1e-5)
    assert deviation(graph.predict(texts), [answer for one in texts for answer in graph.predict([one])]) < (1, 1e-5)
    assert opened(name, tmp_path / "onnx").model.card["sha256"][ENGINES[engine].graph]
    assert read_golden(tmp_path / "onnx")["bound"] == 1e-4


def test_another_engine_takes_the_place_of_the_first(run_of, tmp_path):
    out = tmp_path / "graph"
    export(run_of("films"), out)
    shutil.copy(out / "model.onnx", tmp_path / "old.onnx")
    export(run_of("pairs"), out, engine="openvino", overwrite=True)
    assert not (out / "model.onnx").exists() and headwise.load(out).predict([FILMS[:2]])
    shutil.copy(tmp_path / "old.onnx", out / "model.onnx")  # as where the first could not be removed
    assert headwise.load(out).checkpoint.model.engine is ENGINES["openvino"]


def test_scales_are_settled_by_texts_of_any_task(masked, run_of, table, films, tmp_path):
    texts = table(tmp_path / "texts.tsv", [(text,) for text, _ in films], "text")
    how = {"engine": "openvino", "int8": True, "calibrate": texts}
    with pytest.raises(InputError, match=r"golden record .* rows with labels to judge it by: --data FILE"):
        export(masked, tmp_path / "masked", **how)  # a model nobody trained is undecided, which is found after scales
    moods = table(tmp_path / "moods.tsv", [(f"{text} indeed", label) for text, label in films], "text", "mood")
    found, _ = export(run_of("films"), tmp_path / "films", moods, Asked(label_column="mood"), **how, budget=100)
    assert found.int8 and found.measured.rows == len(films)


def test_what_was_exported_has_its_own_precision(run_of, tmp_path):
    export(run_of("films"), tmp_path / "onnx")
    with pytest.raises(InputError, match="as it was exported; leave precision out"):
        headwise.load(tmp_path / "onnx", "bfloat16")


def test_long_texts_are_read_in_the_same_windows(run_of, tmp_path):
    export(run_of("films"), tmp_path / "onnx")
    run, graph = headwise.load(run_of("films")), headwise.load(tmp_path / "onnx")
    assert run.tokenizer.max_windows == graph.tokenizer.max_windows > 1
    with pytest.warns(UserWarning, match="longer than"):
        texts = ["fine film " * 60 + "dull , slow " * 300, "dull " * 200]
        assert deviation(run.predict(texts), graph.predict(texts)) < (1, 1e-5)


def test_what_was_decided_holds_in_the_exported_model(run_of, table, films, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_of("films"), run)
    rows = table(tmp_path / "more.tsv", [(f"{text} {i}", label) for i in range(30) for text, label in films])
    decided(run, rows, Asked(), None, 0.05)
    export(run, tmp_path / "onnx")
    ours, graph = headwise.load(run), headwise.load(tmp_path / "onnx")
    assert graph.task == ours.task and not graph.task.fitted.always_answers
    texts = [*FILMS, "很好", "q z q z", "3 4 5"]
    assert "abstains" in graph.predict(texts)[0] and deviation(ours.predict(texts), graph.predict(texts)) < (1, 1e-5)
    assert graph.evaluate(rows).accuracy == ours.evaluate(rows).accuracy
    decided(tmp_path / "onnx", rows, Asked(), None, 0.1)  # and it can be settled anew
    opened("onnx", tmp_path / "onnx")


def pooled_otherwise(monkeypatch):
    traced_anew(monkeypatch)
    monkeypatch.setattr(Cells, "firsts", lambda self: Cells(self.means(), self.lengths.firsts))


def padding_is_seen(monkeypatch):
    traced_anew(monkeypatch)
    monkeypatch.setattr(Padded, "keys", property(lambda self: self.real[:, None, None] | True))


def head_is_lost(monkeypatch):
    traced_anew(monkeypatch)
    plain = Traced.__init__

    def fresh(self, model, *given):
        plain(self, model, *given)
        with torch.no_grad():
            model.head.out.weight.normal_(0, 0.02)

    monkeypatch.setattr(Traced, "__init__", fresh)


def types_are_lost(monkeypatch):
    traced_anew(monkeypatch)
    plain = Traced.forward
    monkeypatch.setattr(Traced, "forward", lambda self, ids, mask, types: plain(self, ids, mask, types * 0))


def labels_are_reversed(monkeypatch):
    plain = exporting.write_config
    monkeypatch.setattr(
        exporting, "write_config", lambda place, checkpoint, labels, kind: plain(place, checkpoint, labels[::-1], kind)
    )


def written_otherwise(monkeypatch, file, change):
    plain = TextTokenizer.write

    def write(self, directory):
        plain(self, directory)
        told = json.loads((directory / file).read_text())
        change(told)
        (directory / file).write_text(json.dumps(told))

    monkeypatch.setattr(TextTokenizer, "write", write)


def cased(monkeypatch):
    written_otherwise(monkeypatch, "tokenizer.json", lambda told: told["normalizer"].update(lowercase=False))


def another_tokenizer(monkeypatch):
    def change(told):
        words = [word for word in told["model"]["vocab"] if not word.startswith("[")]
        numbers = [told["model"]["vocab"][word] for word in words]
        told["model"]["vocab"] |= dict(zip(words, numbers[::-1], strict=True))

    written_otherwise(monkeypatch, "tokenizer.json", change)


def cut_shorter(monkeypatch):
    written_otherwise(monkeypatch, "tokenizer_config.json", lambda told: told.update(model_max_length=32))


def cut_at_the_left(monkeypatch):
    plain = TextTokenizer.encodings
    monkeypatch.setattr(
        TextTokenizer, "encodings", lambda self, texts: plain(self, [text[4 - self.max_length :] for text in texts])
    )


def dropout_left_on(monkeypatch):
    traced_anew(monkeypatch)

    def forward(self, x):
        return x * (torch.arange(x.shape[-1]) % 10 != 0) / 0.9  # of one draw, as a trace would hold it

    monkeypatch.setattr(Dropout, "forward", forward)


FAULTS = [
    pooled_otherwise,
    padding_is_seen,
    head_is_lost,
    types_are_lost,
    labels_are_reversed,
    cased,
    another_tokenizer,
    cut_shorter,
    cut_at_the_left,
    dropout_left_on,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrongly_exported_model_is_refused_and_nothing_is_left(fault, run_of, tmp_path, monkeypatch):
    run = run_of("pairs" if fault is types_are_lost else "films")
    fault(monkeypatch)
    with pytest.raises(InputError, match=r"onnx: not written, golden record \d+ is answered otherwise"):
        export(run, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_in_8_bits_it_is_judged_by_rows_with_labels(engine, run_of, table, films, tmp_path, command):
    rows = table(tmp_path / "dev.tsv", [(f"{text} indeed", label) for text, label in films])
    scales = table(tmp_path / "rows.tsv", [(f"{text} , {more}",) for text, _ in films for more in FILMS], "text")
    out = tmp_path / "onnx"
    more = ("--calibrate", scales, "--budget", 13) if engine == "openvino" else ()  # of eight rows it may lose one
    words = ("--engine", engine, *more)
    status, said, why = command("export", run_of("films"), "--out", out, "--int8", *words, "--data", rows, "--json")
    assert status == 0, why
    told = json.loads(said)
    assert told["int8"] and told["engine"] == engine
    assert told["measured"]["rows"] == 8 and told["measured"]["alike"] >= (7 / 8 if more else 1)
    served = opened("onnx", out)  # by its own records, in batches of their own
    assert served.model.card["exported"]["int8"] and read_golden(out)["bound"] == 1e-2
    assert "int8" in (out / "README.md").read_text()


def test_a_graph_that_loses_more_than_it_may_is_not_written(run_of, table, films, tmp_path, monkeypatch):
    rows = table(tmp_path / "dev.tsv", [(f"{text} indeed", label) for text, label in films])
    bad = lambda model, graph, part: exporting.Measured("dev.tsv", 200, "accuracy", 0.93, 0.92, 0.97)  # noqa: E731
    monkeypatch.setattr(exporting, "compared", bad)
    with pytest.raises(InputError, match=r"0\.9200, was 0\.9300; 97\.0% .*: 1\.00 points lost, 0\.5 may be"):
        export(run_of("films"), tmp_path / "other", rows, int8=True)
    assert not (tmp_path / "other").exists()
    assert export(run_of("films"), tmp_path / "other", rows, int8=True, budget=2)[0].measured.lost == pytest.approx(1)


def test_what_is_lost_may_be_all_of_the_budget():
    lost = exporting.Measured("dev.tsv", 600, "accuracy", 473 / 600, 470 / 600, 0.95)
    exporting.refuse_loss("out", lost, 0.5, True)  # in binary half a point is a little more


def test_in_8_bits_without_rows_golden_records_keep_their_labels(run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "QUANTISED", 1e-9)
    with pytest.raises(InputError, match=r"not written, golden record .* rows with labels to judge it by: --data FILE"):
        export(run_of("films"), tmp_path / "onnx", int8=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(exporting, "QUANTISED", 0.5)
    found, _ = export(run_of("films"), tmp_path / "onnx", int8=True)
    assert found.records_otherwise == 0 and 1e-9 < found.farthest < 0.5


def test_it_is_written_where_one_said_and_nowhere_else(run_of, table, films, tmp_path, command):
    out = tmp_path / "onnx"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    refused = {
        ("--out", out): "holds something that is no exported model; choose another --out",
        ("--out", out / "mine.txt"): "is a file, expected a directory",
        ("--out", run_of("films"), "--overwrite"): "holds something that is no exported model",
        ("--out", tmp_path / "new", "--budget", "-1"): "--budget is -1, expected points from 0 to 100",
        ("--out", tmp_path / "new", "--engine", "tvm"): "--engine is tvm, expected onnxruntime or openvino",
        ("--out", tmp_path / "new", "--engine", "openvino", "--int8"): "some texts; give a few hundred: --calibrate",
        ("--out", tmp_path / "new", "--int8", "--calibrate", "a.tsv"): "--calibrate is for --engine openvino --int8",
    }
    for words, why in refused.items():
        status, _, said = command("export", run_of("films"), *words)
        assert status == 2 and why in said and said.count("\n") == 1
    trained_on = table(tmp_path / "films.tsv", films)
    status, _, said = command("export", run_of("films"), "--out", tmp_path / "new", "--data", trained_on)
    assert status == 2 and "the model was trained on these rows" in said
    (out / "mine.txt").unlink()
    assert command("export", run_of("films"), "--out", out)[0] == 0
    status, _, said = command("export", run_of("films"), "--out", out)
    assert status == 2 and "holds an exported model; choose another --out, or replace it with --overwrite" in said
    version = opened("onnx", out).version
    status, said, _ = command("export", run_of("pairs"), "--out", out, "--overwrite")
    assert status == 0 and "32 golden records" in said and opened("onnx", out).version != version
    for words in (("export", out, "--out", tmp_path / "twice"), ("explain", out, "fine", "--pair", "dull")):
        status, _, said = command(*words)
        assert status == 2 and "an exported model has no weights" in said and said.count("\n") == 1
    with pytest.raises(InputError, match="no weights to look into or to write"):
        headwise.load(out).save(tmp_path / "copy")
    status, said, _ = command("serve", out, "--check")
    assert status == 0 and "32 golden records answered as in training" in said


def test_vectors_of_a_graph_have_length_1_and_others_are_refused(started, run_of, tmp_path):
    export(run_of("faq"), tmp_path / "onnx")
    running = started(tmp_path / "onnx")
    for path in ("/embed", "/models/onnx"):
        assert running.ask(path, {"inputs": "fine"})[0] == 200
        status, answer, _ = running.ask(path, {"inputs": "fine", "normalize": False})
        assert status == 422 and "an exported model makes vectors of length 1 only" in answer["error"]


def test_a_graph_that_cannot_be_asked_is_said_in_one_line(run_of, tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise RuntimeError("got invalid dimensions\nat index 1")

    export(run_of("films"), tmp_path / "onnx")
    monkeypatch.setattr(ENGINES["onnxruntime"], "run", fails)
    with pytest.raises(InputError, match=r"model.onnx: cannot be asked by ONNX Runtime \(got invalid dimensions\)"):
        headwise.load(tmp_path / "onnx")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_example_in_its_readme_runs_without_us(engine, run_of, tmp_path, monkeypatch):
    export(run_of("films"), tmp_path / "onnx", engine=engine)
    graph, found = headwise.load(tmp_path / "onnx"), {}
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "onnx" / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path / "onnx")
    exec(code.replace('"a text", "another one"', f'"{FILMS[0]}", "{FILMS[2]}"'), found)
    scores = (torch.from_numpy(found["made"][0]) / graph.task.fitted.temperature).softmax(-1)
    wanted = [answer["score"] for answer in graph.predict([FILMS[0], FILMS[2]])]
    assert scores.max(-1).values.tolist() == pytest.approx(wanted, abs=1e-5)
    assert asdict(graph.task)["labels"] == tuple(
        json.loads((tmp_path / "onnx/config.json").read_text())["id2label"].values()
    )
    assert (tmp_path / "onnx" / GOLDEN).exists()
