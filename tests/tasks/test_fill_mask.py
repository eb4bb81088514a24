"""Fill-mask: the words transformers' pipeline gives, and a clear line where there is nothing to fill."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.tasks.fill_mask import TOP

MASKS = {"bert": "[MASK]", "roberta": "<mask>"}
FAMILIES = list(MASKS)


@pytest.fixture(scope="module")
def directory(directory_of, redraw, tmp_path_factory):
    """A tiny masked language model with redrawn weights, and the tokenizer that knows the films."""
    import transformers

    made = {}

    def of(family):
        if family not in made:
            place = shutil.copytree(directory_of(family), tmp_path_factory.mktemp(f"masks-{family}") / "model")
            kind = {"bert": "Bert", "roberta": "Roberta"}[family]
            config = getattr(transformers, f"{kind}Config").from_pretrained(place)
            redraw(getattr(transformers, f"{kind}ForMaskedLM")(config)).save_pretrained(place)
            made[family] = place
        return made[family]

    return of


def texts_of(family):
    mask = MASKS[family]
    return [f"a {mask} film , warm and {mask}", f"dull and {mask}", f"{mask} plays"]


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_filled_as_transformers_fills_them(family, directory):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    place, texts = directory(family), texts_of(family)
    answers = headwise.load(place).predict(texts)
    theirs, tokenizer = AutoModelForMaskedLM.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
    assert [len(answer["masks"]) for answer in answers] == [2, 1, 1]
    for text, answer in zip(texts, answers, strict=True):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = theirs(**ids).logits[0][ids["input_ids"][0] == tokenizer.mask_token_id]
        scores, words = logits.softmax(-1).topk(TOP)
        found = [[one["score"] for one in filled] for filled in answer["masks"]]
        assert np.allclose(found, scores, rtol=1e-3, atol=1e-6)
        spelled = [[tokenizer.decode([word]).strip() for word in row] for row in words]
        assert [[one["word"] for one in filled] for filled in answer["masks"]] == spelled


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_reloaded_it_says_exactly_the_same_and_transformers_opens_it(family, directory, tmp_path):
    from transformers import AutoModelForMaskedLM

    model, texts = headwise.load(directory(family)), texts_of(family)
    model.save(tmp_path / "again")
    assert headwise.load(tmp_path / "again").predict(texts) == model.predict(texts)
    ours, theirs = (AutoModelForMaskedLM.from_pretrained(place) for place in (tmp_path / "again", directory(family)))
    ids = torch.arange(5, 30)[None]
    with torch.no_grad():
        assert torch.allclose(ours.eval()(ids).logits, theirs.eval()(ids).logits, atol=1e-5)


def test_a_pair_is_filled_too(directory):
    (answer,) = headwise.load(directory("bert")).predict([("a fine film", "warm and [MASK]")])
    assert len(answer["masks"]) == 1


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (
            ["a [MASK] film", "a fine film"],
            r"text 2, 'a fine film', has no \[MASK\]; write it where a word is missing",
        ),
        (["film " * 99 + "[MASK]"], r"has no \[MASK\] in the 66 tokens the model reads"),
        ("a [MASK] film", "predict takes a list of texts"),
    ],
)
def test_texts_with_nothing_to_fill_are_refused(texts, told, directory):
    with pytest.raises(InputError, match=told):
        headwise.load(directory("bert")).predict(texts)


def test_what_it_cannot_do_is_refused_in_a_line(directory, films, table, tmp_path):
    model, file = headwise.load(directory("bert")), table(tmp_path / "films.tsv", films)
    with pytest.raises(InputError, match="a fill-mask model is asked with predict"):
        model.evaluate(file)
    with pytest.raises(InputError, match="a model of fill-mask has no labels"):
        model.probabilities(["a [MASK] film"])
    with pytest.raises(InputError, match="a model of fill-mask gives words, which are not explained"):
        model.explain("a [MASK] film")
    with pytest.raises(InputError, match="fill-mask cannot be trained here"):
        headwise.train(file, task="fill-mask", model=str(directory("bert")), quiet=True)


def test_another_table_for_the_words_is_refused(directory, tmp_path):
    place = shutil.copytree(directory("bert"), tmp_path / "model")
    config = json.loads((place / "config.json").read_text()) | {"tie_word_embeddings": False}
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: tie_word_embeddings is False, supported is True"):
        headwise.load(place)


def test_a_masked_language_model_is_still_a_start_for_a_classifier(directory, films, table, tmp_path):
    file = table(tmp_path / "films.tsv", films)
    how = {"epochs": 1, "with_baselines": False, "quiet": True}
    assert headwise.train(file, file, model=str(directory("bert")), **how).labels == ("bad", "good")


def test_the_command_line_fills_texts_and_tables(directory, command, table, tmp_path):
    place, texts = directory("bert"), texts_of("bert")
    status, out, _ = command("predict", place, *texts)
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines == headwise.load(place).predict(texts)
    rows = table(tmp_path / "rows.tsv", [(text,) for text in texts], "text")
    for name in ("answers.jsonl", "answers.csv"):
        status, _, said = command("predict", place, "--input", rows, "--output", tmp_path / name)
        assert status == 0, said
    written = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [one["masks"] for one in written] == [one["masks"] for one in lines]
    from headwise.reading.tables import read

    assert [json.loads(one) for one in read(tmp_path / "answers.csv").table["masks"].to_pylist()] == [
        one["masks"] for one in lines
    ]
