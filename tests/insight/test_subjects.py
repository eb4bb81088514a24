"""Tags, answers, numbers and likeness are explained like labels: of the model's own numbers, words masked in place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from headwise.errors import InputError
from headwise.families.checkpoint import read_model
from headwise.insight.attribution import METHODS
from headwise.insight.explain import explain
from headwise.insight.subject import of_likeness, subject_of
from headwise.insight.words import pieces, tagged_pieces
from headwise.reading.text import TextTokenizer
from headwise.reading.words import read_words, spans_in
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.question_answering import QuestionAnswering
from headwise.tasks.regression import Regression
from headwise.tasks.token_classification import TokenClassification

TEXT, OTHER = "a fine film , warm and funny", "she smiles and the music plays"
TAGS = ("O", "B-LOC", "I-LOC")


TASKS = {
    "a tag": (TokenClassification(TAGS), 3, TEXT),
    "an answer": (QuestionAnswering(("start", "end")), 2, (OTHER, TEXT)),
    "likeness": (FeatureExtraction(), None, (TEXT, OTHER)),
    "a number": (Regression(("stars",)), 1, TEXT),
}


@pytest.fixture
def made(directory_of):
    """A model with a random head for some purpose, and its tokenizer."""

    def made(task: Any, n_labels: int | None):
        torch.manual_seed(0)
        model = read_model(directory_of("bert"), n_labels or 0, task.purpose, dropout=0.0).model
        model.eval().requires_grad_(False)
        if n_labels:
            torch.nn.init.normal_(model.head.out.weight)
        return model, TextTokenizer.read(directory_of("bert"), 40)

    return made


@pytest.mark.parametrize(("task", "size", "text"), TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_every_answer(method, task, size, text, made):
    model, tokenizer = made(task, size)
    found = explain(model, task, tokenizer, text, method=method)
    (one,) = found.attributions
    assert np.abs(one.words).max() > 0 and one.receipt is not None
    assert one.gap is None or one.gap < 0.02 * np.abs(one.positions).sum() + 1e-3
    assert found.rollout.sum() == pytest.approx(1, abs=1e-4)
    assert found.as_dict()["measure"] == {"a number": "number", "likeness": "cosine"}.get(
        next(name for name, (one, *_) in TASKS.items() if one is task), "probability"
    )


def test_a_tag_is_read_at_the_words_first_piece(made):
    task, size, text = TASKS["a tag"]
    model, tokenizer = made(task, size)
    found = explain(model, task, tokenizer, text, word="film", method="occlusion", layers=())
    own = pieces(tokenizer, text)
    place = int(np.argmax(own.word_of == [word.text for word in own.words].index("film")))
    assert found.about == "film" and found.labels == TAGS
    assert found.probabilities == pytest.approx(model(*own.packed())[place].softmax(-1).numpy(), abs=1e-6)
    surest = explain(model, task, tokenizer, text, method="occlusion", layers=())
    firsts = [int(np.argmax(own.word_of == number)) for number in range(len(own.words))]
    chances = model(*own.packed()).softmax(-1)[firsts, 1:].max(-1).values
    assert surest.about == own.words[int(chances.argmax())].text


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("text", [TEXT, "这部电影很好看，she smiles 12.5", "film's 😀 (warm)and funny", "ééé film"])
def test_tags_are_explained_of_the_very_tokens_they_are_read_at(family, text, directory_of):
    task, tokenizer = TokenClassification(TAGS), TextTokenizer.read(directory_of(family), 66)
    own, examples = tagged_pieces(tokenizer, text), task.examples(tokenizer, [text])
    assert own.ids.tolist() == examples.tokens.ids.tolist()
    read = read_words(tokenizer, [text], [spans_in(text)])
    firsts = [int(np.argmax(own.word_of == number)) for number in range(len(own.words))]
    assert firsts == sorted({first for first in read.first.tolist() if first >= 0})
    assert [text[word.start : word.end] for word in own.words] == [word.text for word in own.words]
    assert (own.word_of >= 0).sum() == len(own.ids) - 2


def test_a_word_that_goes_leaves_a_mask(made):
    task, size, text = TASKS["a tag"]
    model, tokenizer = made(task, size)
    found = explain(model, task, tokenizer, text, word="film", label="B-LOC", against="O", method="occlusion")
    own, changes = found.pieces, []
    for number in (None, *range(len(own.words))):
        gone = own.word_of == (99 if number is None else number)
        ids = torch.from_numpy(np.where(gone, tokenizer.mask_id, own.ids))
        tags = model(own.packed()[0].with_data(ids))[int(np.argmax(own.word_of == 2))]
        changes.append((tags[1] - tags[0]).item())
    assert found.attributions[0].words == pytest.approx(changes[0] - np.array(changes[1:]), abs=1e-4)


@pytest.mark.parametrize("longest", [2, 30])
def test_answers_are_spans_of_the_context_by_their_probability(longest, made):
    task, size, text = TASKS["an answer"]
    model, tokenizer = made(task, size)
    subject, own = subject_of(model, replace(task, longest=longest), tokenizer, text, None)
    inside = [at for at, word in enumerate(own.word_of) if word >= 0 and own.words[word].side == 1]
    starts, ends = model(*own.packed())[inside].log_softmax(0).T
    pairs = [(i, j) for i in range(len(inside)) for j in range(i, min(i + longest, len(inside)))]
    spans = {(i, j): (starts[i] + ends[j]).exp().item() for i, j in pairs}
    (first, last), chance = max(spans.items(), key=lambda item: item[1])
    words = [own.words[own.word_of[inside[at]]] for at in (first, last)]
    assert subject.labels[0] == text[1][words[0].start : words[1].end]
    assert len(set(subject.labels)) == len(subject.labels) > 1
    rows = subject.chances(subject.model(*own.packed()))
    assert rows[0, 0] == pytest.approx(chance, abs=1e-6) and (np.diff(rows[0]) <= 1e-9).all()


def test_likeness_is_the_cosine_of_two_vectors(made):
    task, size, (text, other) = TASKS["likeness"]
    model, tokenizer = made(task, size)
    one, two = (pieces(tokenizer, each) for each in (text, other))
    wanted = torch.cosine_similarity(model(*one.packed()), model(*two.packed())).item()
    found = explain(model, task, tokenizer, (text, other), method="occlusion")
    assert found.probabilities[0] == pytest.approx(wanted, abs=1e-6)
    itself = of_likeness(model, one)
    assert itself.chances(itself.model(*one.packed()))[0, 0] == pytest.approx(1, abs=1e-6)


REFUSED = {
    "no context": ("an answer", TEXT, {}, "give the context with it: --pair"),
    "no other text": ("likeness", TEXT, {}, "give the text it is compared with"),
    "no such word": ("a tag", TEXT, {"word": "dull"}, "word 'dull' is not in the text: 'a', 'fine'"),
    "a word of a number": ("a number", TEXT, {"word": "film"}, "a word is asked about in models that tag words"),
    "no such tag": ("a tag", TEXT, {"label": "PER"}, "label 'PER' is not one of"),
}


@pytest.mark.parametrize(("kind", "text", "how", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_is_refused(kind, text, how, said, made):
    task, size, _ = TASKS[kind]
    model, tokenizer = made(task, size)
    with pytest.raises(InputError, match=said):
        explain(model, task, tokenizer, text, **how)


def test_without_a_mask_nothing_can_be_taken_away_in_place(made):
    task, size, text = TASKS["a tag"]
    model, tokenizer = made(task, size)
    tokenizer.config = tokenizer.config | {"mask_token": "none such"}
    with pytest.raises(InputError, match="has no mask token"):
        subject_of(model, task, tokenizer, text, None)
