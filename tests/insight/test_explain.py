"""An answer is explained as asked, in Python and in the terminal, and what cannot be is refused in one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from headwise.core.packed import Packed
from headwise.errors import InputError
from headwise.families.checkpoint import read_model
from headwise.insight.attribution import METHODS, attribution
from headwise.insight.explain import explain
from headwise.insight.question import Odds
from headwise.model import Model
from headwise.reading.text import TextTokenizer
from headwise.tasks.text_classification import TextClassification

TEXT = "a fine film , 这部电影很好看"


@pytest.fixture
def model(directory_of) -> Model:
    torch.manual_seed(0)
    place = directory_of("bert")
    task = TextClassification(("bad", "fair", "good"))
    return Model(task, read_model(place, 3), TextTokenizer.read(place, 40))


def test_what_an_explanation_holds(model):
    found = model.explain(TEXT, method="integrated_gradients", layers=[1], heads=[2, 0])
    own = found.pieces
    assert [word.text for word in own.words] == ["a", "fine", "film", ",", "这部", "电影", "很", "好看"]
    assert found.labels == ("bad", "fair", "good")
    assert found.probabilities == pytest.approx(model.probabilities([TEXT])[0], abs=1e-6)
    assert found.question.label == found.probabilities.argmax() and found.question.against is None
    (one,) = found.attributions
    assert one.method == "integrated_gradients" and one.receipt is not None and one.gap is not None
    odds = attribution("integrated_gradients", model.checkpoint.model, own, Odds(found.question.label))
    assert one.positions == pytest.approx(odds.positions)
    assert {layer: weights.shape for layer, weights in found.attention.items()} == {1: (2, len(own.ids), len(own.ids))}
    assert found.heads_watched == (2, 0)
    assert found.rollout.shape == own.ids.shape and found.rollout.sum() == pytest.approx(1, abs=1e-5)
    assert all(numbers.shape == (2, 4) for numbers in found.heads.values())
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["label"] == found.labels[found.question.label] and len(plain["attributions"][0]["words"]) == 8


def test_labels_are_asked_about_by_name(model):
    found = model.explain(TEXT, label="fair", against="bad", method="occlusion", layers=())
    assert (found.question.label, found.question.against) == (1, 0)
    assert found.attention == {} and found.heads_watched == (0, 1, 2, 3)


def test_of_several_labels_the_likeliest_is_asked_about_by_its_own_number(model):
    several = replace(model, task=TextClassification(model.labels, multi_label=True))
    found = several.explain(TEXT, method="occlusion", layers=())
    label = found.question.label
    assert label == several.probabilities([TEXT])[0].argmax()
    alone = attribution("occlusion", model.checkpoint.model, found.pieces, found.question)
    assert found.attributions[0].words == pytest.approx(alone.words)


@pytest.mark.parametrize("wanted", [*METHODS, None])
def test_auto_stops_at_the_first_method_to_be_trusted(wanted, model, monkeypatch):
    from headwise.insight import explain as module

    real, names, asked = module.receipt, list(METHODS), iter(METHODS)
    monkeypatch.setattr(
        module, "receipt", lambda *given, **more: replace(real(*given, **more), trusted=next(asked) == wanted)
    )
    found = model.explain(TEXT, layers=())
    assert found.chosen == wanted
    assert [one.method for one in found.attributions] == names[: names.index(wanted) + 1 if wanted else None]
    assert found.shown.method == (wanted or names[0])
    assert wanted or "not trustworthy here" in found.verdict


def test_a_notebook_shows_the_page_in_a_frame(model):
    shown = model.explain("<script>alert(1)</script> a fine film", method="occlusion")._repr_html_()
    assert shown.startswith('<iframe srcdoc="') and "<script" not in shown


REFUSED = {
    "label": ({"label": "Good"}, "label 'Good' is not one of the model's: 'bad', 'fair', 'good'"),
    "against": ({"against": "x"}, "label 'x' is not one of"),
    "itself": ({"label": "bad", "against": "bad"}, "asked about against itself"),
    "method": ({"method": "lime"}, "method 'lime' is not one of 'auto', 'gradient_x_input'"),
    "layer": ({"layers": [2]}, "layer 2: the model has 2, counted from 0 to 1"),
    "head": ({"heads": [-1]}, "head -1: the model has 4"),
    "empty": ({"text": " \n"}, "the text is empty"),
    "half empty": ({"text": ("a", "")}, "text 2 of the pair is empty"),
    "nothing kept": ({"text": "\x00"}, "no character the model's tokenizer keeps"),
    "long": ({"text": "film " * 300}, "longer than the 40 tokens the model reads"),
    "very long": ({"text": "film " * 500_000}, "longer than the 40 tokens the model reads"),
    "no text": ({"text": 3}, "expected texts"),
}


@pytest.mark.parametrize(("how", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_explained_is_refused(how, said, model):
    with pytest.raises(InputError, match=said):
        model.explain(**({"text": TEXT} | how))


def test_attention_that_would_fill_the_memory_is_refused(model, monkeypatch):
    monkeypatch.setattr("headwise.insight.explain.MOST_WEIGHTS", 100)
    with pytest.raises(InputError, match=r"the attention of \d+ tokens in 8 heads takes .* GiB; name fewer layers"):
        model.explain(TEXT)
    model.explain("dull", layers=[0], heads=[1])


def test_half_a_pair_is_refused(model):
    pairs = replace(model, card={"columns": {"text": "a", "pair": "b", "label": "c"}})
    with pytest.raises(InputError, match="reads pairs of texts, found one"):
        pairs.explain("a fine film")
    found = pairs.explain(("a fine film", "dull"), method="occlusion")
    assert [word.side for word in found.pieces.words] == [0, 0, 0, 1]


# A word that decides, from end to end


def test_auto_finds_the_planted_word(directory_of):
    torch.manual_seed(0)
    place, draw = directory_of("bert"), np.random.default_rng(0)
    tokenizer = TextTokenizer.read(place, 64)
    model, task = read_model(place, 2, dropout=0.0).model, TextClassification(("other", "funny"))
    usual = [
        "a",
        "fine",
        "film",
        "warm",
        "and",
        "dull",
        "slow",
        "far",
        "too",
        "long",
        "she",
        "smiles",
        "the",
        "music",
        "plays",
        "nothing",
        "works",
        "in",
        "this",
    ]

    def sentence(funny: bool, masked: float = 0.0) -> str:
        words = ["[MASK]" if draw.random() < masked else word for word in draw.choice(usual, int(draw.integers(6, 16)))]
        if funny:
            words[int(draw.integers(len(words)))] = "funny"
        return " ".join(words)

    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(120):
        tokens = tokenizer.encode([sentence(bool(row % 2), draw.random()) for row in range(32)])
        ids = Packed.of([torch.from_numpy(tokens.select(np.array([row])).ids).long() for row in range(32)])
        loss = nn.functional.cross_entropy(model(ids), torch.arange(32) % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    found = [explain(model, task, tokenizer, sentence(True), label="funny", layers=()) for _ in range(40)]
    first = [one.pieces.words[int(one.shown.words.argmax())].text for one in found]
    right = [one.chosen is not None and word == "funny" for one, word in zip(found, first, strict=True)]
    assert np.mean(right) >= 0.95


# The command


@pytest.fixture(scope="module")
def run(directory_of, tmp_path_factory):
    torch.manual_seed(0)
    place = directory_of("bert")
    task = TextClassification(("bad", "good"))
    where = tmp_path_factory.mktemp("explain") / "run"
    Model(task, read_model(place, 2), TextTokenizer.read(place, 40)).save(where)
    return where


def test_the_terminal_shows_words_numbers_and_the_verdict(run, command):
    status, out, _ = command("explain", run, TEXT, "--label", "good", "--method", "occlusion")
    assert status == 0
    assert out.splitlines()[0].startswith("why good? its probability is 0.")
    assert TEXT in out and "of it fell on special tokens" in out and "area under deletion" in out
    assert any(line.split()[:3] == ["film", "word", "3"] for line in out.splitlines())
    assert "\x1b" not in out  # no colours into a pipe


def test_the_terminal_colours_words_and_shows_no_command_of_a_text(run, capsys):
    from rich.console import Console

    from headwise.insight.terminal import show
    from headwise.model import load

    found = load(run).explain("a fine\x1b]0;x\x07 [bold]film", method="occlusion", layers=())
    with (console := Console(force_terminal=True, color_system="truecolor", width=200)).capture() as kept:
        show(found, console)
    out = kept.get()
    assert "48;2;" in out and "\x1b]0;" not in out and "\x07" not in out
    assert "bold" in out


def test_files_are_written_whole_or_not_at_all(run, command, tmp_path):
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    status, out, said = command(
        "explain", run, "a fine film", "--pair", "dull", "--json", "--html", page, "--png", picture
    )
    assert status == 0 and said == ""
    assert json.loads(out)["text"] == ["a fine film", "dull"]
    assert page.read_text(encoding="utf-8").lower().lstrip().startswith("<!doctype html>")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(tmp_path.iterdir()) == [page, picture]
    status, out, said = command("explain", run, "a fine film", "--html", tmp_path / "no" / "page.html")
    assert status == 2 and "cannot be written" in said and not out  # before the work is done
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "--label", "x"], "label 'x' is not one of the model's"),
        (["a", "--method", "x"], "method 'x' is not one of"),
        ([""], "the text is empty"),
        (["film " * 99], "longer than the 40 tokens"),
    ],
)
def test_mistakes_are_one_line(words, said, run, command):
    status, out, error = command("explain", run, *words)
    assert status == 2 and out == ""
    assert error.strip().splitlines()[-1].startswith("error: ") and said in error


def test_a_pair_model_asks_for_the_pair(run, command, tmp_path):
    place = shutil.copytree(run, tmp_path / "pairs")
    card = json.loads((place / "headwise.json").read_text())
    (place / "headwise.json").write_text(json.dumps(card | {"columns": {"text": "a", "pair": "b", "label": "c"}}))
    status, _, said = command("explain", place, "a fine film")
    assert status == 2 and "give the second (b) with it: --pair" in said
