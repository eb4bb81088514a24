"""A model that answers otherwise than the trained one is not served, whatever is wrong with it."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer

import headwise
from headwise.errors import InputError
from headwise.golden import GOLDEN, ROUNDED, deviation, read_golden, replay
from headwise.reading.text import TextTokenizer
from headwise.serving.models import opened


@pytest.mark.parametrize("name", ["films", "tagger", "pairs", "stars", "faq", "questions", "several"])
def test_a_run_has_golden_records_and_gives_them_again(run_of, name):
    golden = read_golden(run_of(name))
    assert len(golden["texts"]) == len(golden["answers"]) == 32
    assert opened(name, run_of(name)).model.card["sha256"][GOLDEN]


def test_all_are_asked_at_once_and_twelve_one_by_one(run_of):
    model, counts = headwise.load(run_of("films")), []

    def ask(texts):
        counts.append(len(texts))
        return model.predict(texts)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one record is longer than the model reads
        replay(read_golden(run_of("films")), ask)
    assert counts == [32, *[1] * 12]


def test_records_are_of_every_kind(run_of):
    texts = read_golden(run_of("films"))["texts"]
    assert "" in texts and max(map(len, texts)) > 300 and min(len(text) for text in texts if text) < 6
    assert any("👍" in text for text in texts) and any("服务" in text for text in texts)
    assert all(first and second for first, second in read_golden(run_of("pairs"))["texts"])


@pytest.mark.parametrize("name", ["films", "stars", "faq", "questions"])
def test_in_bfloat16_answers_are_nearly_those_of_training(run_of, name):
    served, golden = opened(name, run_of(name), "bfloat16"), read_golden(run_of(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        words, farthest = deviation(golden["answers"], served.model.predict(golden["texts"]))
    assert served.model.precision == "bfloat16" and words == 0 and 0 < farthest < ROUNDED


def test_in_bfloat16_other_weights_are_refused_too(run_of):
    golden = read_golden(run_of("films"), "bfloat16")
    model = headwise.load(run_of("films"), "bfloat16")
    replay(golden, model.predict)
    with pytest.raises(InputError, match="ask it in float32"):
        replay(golden, without_its_head(model, None).predict)


def pooled_otherwise(model, monkeypatch):
    head = model.checkpoint.model.head
    monkeypatch.setattr(type(head), "forward", lambda self, states, *_: self.out(states.means()))
    return model


def with_tokenizer(model, change):
    own = Tokenizer.from_str(model.tokenizer.tokenizer.to_str())
    change(own)
    old = model.tokenizer
    return replace(model, tokenizer=TextTokenizer(own, {}, old.max_length, old.vocab_size, old.max_windows))


def cut_at_the_left(model, monkeypatch):
    most = model.tokenizer.max_length - 4

    def examples(tokenizer, texts, truth=None):
        return type(model.task).examples(model.task, tokenizer, [text[-most:] for text in texts], truth)

    task = replace(model.task)
    object.__setattr__(task, "examples", examples)
    return replace(model, task=task)


def shorter(model, monkeypatch):
    old = model.tokenizer
    return replace(model, tokenizer=TextTokenizer(old.tokenizer, {}, 32, old.vocab_size, old.max_windows))


def labels_reversed(model, monkeypatch):
    return replace(model, task=replace(model.task, labels=model.labels[::-1]))


def without_its_head(model, monkeypatch):
    with torch.no_grad():
        model.checkpoint.model.head.out.weight.normal_(0, 0.02)
    return model


def padded(model, monkeypatch):
    changed = with_tokenizer(model, lambda own: None)
    changed.tokenizer.tokenizer.enable_padding(length=48)
    return changed


def another_tokenizer(model, monkeypatch):
    def change(own):
        told = json.loads(own.to_str())
        words = [word for word in told["model"]["vocab"] if not word.startswith("[")]
        numbers = [told["model"]["vocab"][word] for word in words]
        told["model"]["vocab"] |= dict(zip(words, numbers[::-1], strict=True))
        own.model = Tokenizer.from_str(json.dumps(told)).model

    return with_tokenizer(model, change)


def cased(model, monkeypatch):
    return with_tokenizer(model, lambda own: setattr(own, "normalizer", BertNormalizer(lowercase=False)))


def dropout_left_on(model, monkeypatch):
    stack = model.checkpoint.model.train()
    monkeypatch.setattr(type(stack), "eval", lambda self: self.train())
    return model


FAULTS = [
    pooled_otherwise,
    cut_at_the_left,
    shorter,
    labels_reversed,
    without_its_head,
    padded,
    another_tokenizer,
    cased,
    dropout_left_on,
]


@pytest.mark.filterwarnings("ignore:asked")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(run_of, fault, monkeypatch):
    golden = read_golden(run_of("films"))
    sound = headwise.load(run_of("films"))
    replay(golden, sound.predict)
    broken = fault(headwise.load(run_of("films")), monkeypatch)
    with pytest.raises(InputError, match=r"golden record \d+ is answered otherwise"):
        replay(golden, broken.predict)


def test_what_is_settled_later_has_its_own_records(run_of, table, films, tmp_path):
    from headwise.training.asked import Asked
    from headwise.trust import decided

    place = tmp_path / "run"
    shutil.copytree(run_of("films"), place)
    rows = table(tmp_path / "more.tsv", [(f"{text} {i}", label) for i in range(30) for text, label in films])
    decided(place, rows, Asked(), None, 0.05)
    assert "abstains" in read_golden(place)["answers"][0]
    opened("run", place)


def test_damaged_records_are_refused(run_of, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(run_of("films"), place)
    (place / GOLDEN).write_text('{"texts": [1]}')
    with pytest.raises(InputError, match="sha256 differs"):
        opened("run", place)
    with pytest.raises(InputError, match="not as headwise writes it"):
        read_golden(place)


def test_serve_check_asks_over_http(run_of, command):
    status, out, said = command("serve", run_of("films"), run_of("pairs"), "--check")
    assert status == 0, said
    assert out.count("32 golden records answered as in training") == 2
