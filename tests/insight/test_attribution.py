"""What mattered is found: captum's numbers, completeness, planted words, and questions other than a class."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from headwise.core.packed import Lengths, Packed
from headwise.core.transformer import HeadedEncoder, initialise
from headwise.families.checkpoint import read_model
from headwise.insight.attribution import METHODS, attribution, baseline, embedded, read_at
from headwise.insight.question import Odds, Pieces, Question, Word, logits_keeping
from headwise.insight.subject import Questioned

FAMILIES = {
    "Bert": {},
    "Roberta": {"type_vocab_size": 1},
    "DistilBert": {},
    "Electra": {},
    "ModernBert": {"classifier_pooling": "mean"},
}
MASK = 4


@pytest.fixture(scope="module")
def family(tiny, tmp_path_factory):
    """A model of transformers and the same one read by us."""

    def family(name, **changes):
        theirs, place = tiny(name, **FAMILIES[name] | changes), tmp_path_factory.mktemp(name)
        theirs.save_pretrained(place)
        return theirs.eval(), read_model(place).model.eval()

    return family


def random_pieces(spelled, length: int = 14, sides: int = 1, seed: int = 0) -> Pieces:
    found = spelled(torch.randint(5, 60, (length,), generator=torch.Generator().manual_seed(seed)), sides)
    return Pieces(found.text, found.ids, found.types, found.names, found.words, found.word_of, mask=MASK)


@pytest.mark.parametrize("name", FAMILIES)
def test_integrated_gradients_are_those_of_captum(name, family, spelled, difference):
    from captum.attr import LayerIntegratedGradients

    theirs, ours = family(name)
    pieces, question = random_pieces(spelled), Question(2, 0)
    ids = torch.from_numpy(pieces.ids)[None]
    start = torch.where(torch.from_numpy(pieces.special), ids, MASK)

    def answer(ids):
        logits = theirs(input_ids=ids).logits
        return logits[:, 2] - logits[:, 0]

    layer = LayerIntegratedGradients(answer, theirs.get_input_embeddings())
    wanted = layer.attribute(ids, start, n_steps=50, method="gausslegendre")[0].sum(-1)
    got = attribution("integrated_gradients", ours, pieces, question)
    assert difference(torch.from_numpy(got.positions).float(), wanted.float()) < 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_integrated_gradients_add_up_to_what_the_answer_gains(name, family, spelled):
    _, model = family(name, std=0.1)
    pieces, question = random_pieces(spelled), Question(1)
    ids, types = pieces.packed()
    unsaid = torch.where(torch.from_numpy(pieces.special), ids.data, MASK)
    gain = question.of(model(ids, types)) - question.of(model(ids.with_data(unsaid), types))
    found = attribution("integrated_gradients", model, pieces, question)
    assert found.gap == pytest.approx(abs(found.positions.sum() - gain.item()), abs=1e-5)
    assert found.gap < 0.02 * abs(gain.item()) + 1e-4
    assert found.special_share == 0  # the special tokens are in the baseline, too


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gradient_is_that_of_a_small_step(name, family, spelled):
    _, model = family(name)
    model, pieces, question = model.double(), random_pieces(spelled), Question(0)
    vectors = embedded(model, pieces)
    away = vectors - baseline(model, pieces)
    found = attribution("gradient_x_input", model, pieces, question).positions
    ids, types = pieces.packed()
    for at in (0, 5, 13):
        step = torch.zeros_like(vectors)
        step[at] = away[at] * 1e-5
        up, down = (question.of(model(ids, types, vectors=vectors + sign * step)).item() for sign in (1, -1))
        assert found[at] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_x_gradient_is_the_papers_formula_on_transformers_own_weights(name, family, spelled, difference):
    theirs, ours = family(name)
    theirs.set_attn_implementation("eager")
    pieces = random_pieces(spelled)
    given = theirs(input_ids=torch.from_numpy(pieces.ids)[None], output_attentions=True)
    slopes = torch.autograd.grad(given.logits[0, 1], given.attentions)
    relevance = torch.eye(14)
    for weights, slope in zip(given.attentions, slopes, strict=True):
        relevance = relevance + (weights * slope)[0].clamp(min=0).mean(0) @ relevance
    row = relevance[0] - torch.eye(14)[0]
    if name == "ModernBert":
        row = (relevance - torch.eye(14)).mean(0)
    found = attribution("attention_x_gradient", ours, pieces, Question(1))
    assert difference(torch.from_numpy(found.positions).float(), row.detach()) < 1e-4


def test_occlusion_is_the_answer_without_each_word(family, spelled):
    _, model = family("Bert")
    pieces, question = random_pieces(spelled, sides=2), Question(2)
    found = attribution("occlusion", model, pieces, question)
    count = len(pieces.words)
    kept = np.concatenate([np.ones((1, count), bool), ~np.eye(count, dtype=bool)])
    whole, *without = question.of(logits_keeping(model, pieces, kept)).tolist()
    assert found.words == pytest.approx([whole - other for other in without], abs=1e-5)
    assert found.special_share == 0 and (found.positions[pieces.special] == 0).all()
    for word in range(count):
        assert len(set(found.positions[pieces.word_of == word].tolist())) == 1


@pytest.mark.parametrize("method", METHODS)
def test_words_are_sums_and_nothing_is_left_behind_in_the_model(method, family, spelled):
    _, model = family("Bert")
    model.train()
    pieces = random_pieces(spelled, sides=2)
    with torch.no_grad():
        found = attribution(method, model, pieces, Question(0, 1))
    again = attribution(method, model, pieces, Question(0, 1))
    assert np.array_equal(found.positions, again.positions)  # no dropout
    assert found.words.sum() + found.positions[pieces.special].sum() == pytest.approx(found.positions.sum())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert 0 <= found.special_share <= 1 and found.seconds > 0
    reverse = attribution(method, model, pieces, Question(1, 0))
    if method != "attention_x_gradient":  # which is never below 0
        assert reverse.positions == pytest.approx(-found.positions, abs=1e-4)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert np.array_equal(attribution(method, model, pieces, Question(0, 1)).positions, found.positions)


def test_many_steps_of_a_long_input_go_in_passes(family, spelled, monkeypatch):
    _, model = family("Bert")
    pieces, question = random_pieces(spelled, 40), Question(0)
    whole = attribution("integrated_gradients", model, pieces, question)
    monkeypatch.setattr("headwise.insight.attribution.MOST_TOKENS", 90)
    assert attribution("integrated_gradients", model, pieces, question).positions == pytest.approx(
        whole.positions, rel=1e-3, abs=1e-5
    )


def test_without_a_mask_token_the_baseline_is_zero(family, spelled):
    _, model = family("Bert")
    pieces = spelled(torch.arange(5, 19))
    start = baseline(model, pieces)
    assert (start[~pieces.special] == 0).all()
    assert torch.equal(start[pieces.special], embedded(model, pieces)[pieces.special])


def test_odds_are_what_softmax_makes_of_logits():
    logits = torch.randn(5, 4)
    chance = logits.softmax(-1)
    assert torch.allclose(Odds(1).of(logits), (chance[:, 1] / (1 - chance[:, 1])).log(), atol=1e-5)
    assert torch.allclose(Odds(1, 3).of(logits), (chance[:, 1] / chance[:, 3]).log(), atol=1e-5)
    assert torch.equal(Odds(0).of(logits[:, :2]), Question(0, 1).of(logits))


# A word that decides


@pytest.fixture(scope="module")
def trained(family):
    """A classifier of sentences of random words, of which one decides: whether 10 is among them.

    As pretraining would have, it has seen [MASK] in the place of words that do not matter.
    """

    @cache
    def trained(name):
        torch.manual_seed(0)
        _, model = family(name, num_labels=2, classifier_pooling="cls", num_hidden_layers=2, std=0.05)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1)
        for _ in range(300):
            texts = [planted(number % 2, masked=torch.rand(()).item()) for number in range(32)]
            ids = Packed.of([torch.from_numpy(pieces.ids) for pieces, _, _ in texts])
            loss = nn.functional.cross_entropy(model(ids), torch.tensor([label for _, _, label in texts]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if loss < 0.2:  # sure, not yet so sure that gradients vanish
                break
        return model.eval()

    return trained


def planted(label: int, masked: float = 0.0) -> tuple[Pieces, int, int]:
    """A sentence of random words, where the trigger stands in it if it does, and its class."""
    length = int(torch.randint(5, 20, ()))
    ids = torch.randint(12, 60, (length + 2,))
    ids[torch.rand(length + 2) < masked] = MASK
    at = int(torch.randint(0, length, ()))
    ids[0], ids[-1] = 2, 3
    if label:
        ids[at + 1] = 10
    words = tuple(Word(f"w{number}", 0, 2) for number in range(length))
    word_of = np.concatenate([[-1], np.arange(length), [-1]])
    names = tuple(map(str, ids.tolist()))
    return Pieces("", ids.numpy(), np.zeros(length + 2, np.int64), names, words, word_of, mask=MASK), at, label


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("Bert", "attention_x_gradient"),
        ("Bert", "integrated_gradients"),
        ("Bert", "occlusion"),
        ("ModernBert", "integrated_gradients"),
        ("ModernBert", "occlusion"),
    ],
)
def test_the_planted_word_comes_first(name, method, trained):
    """The gradient at the input alone is not here: where the model is sure it says little, which a receipt finds."""
    torch.manual_seed(1)
    texts = [planted(1) for _ in range(60)]
    first = [attribution(method, trained(name), pieces, Odds(1)).words.argmax() == at for pieces, at, _ in texts]
    assert np.mean(first) >= 0.95


@pytest.mark.parametrize("method", METHODS)
def test_attributions_change_when_layers_are_drawn_anew(method, family, spelled):
    """Adebayo et al. 2018, arXiv:1810.03292: one that does not depends on the input alone."""
    _, model = family("Bert")
    pieces, question = random_pieces(spelled, 40), Question(0)
    before = attribution(method, model, pieces, question).words
    same = attribution(method, model, pieces, question).words
    initialise(model.encoder.blocks, torch.Generator().manual_seed(5), 0.2)
    after = attribution(method, model, pieces, question).words
    assert spearmanr(before, same).statistic == pytest.approx(1)
    assert abs(spearmanr(before, after).statistic) < 0.6


# Questions about something else than the class of a text


class At(nn.Module):
    """Takes the states of one position: a tag's scores with a linear layer over them."""

    def __init__(self, position: int, out: nn.Module):
        super().__init__()
        self.position, self.out = position, out

    def forward(self, x: Packed):
        """[n d] -> [b c]"""
        return self.out(x.data[x.lengths.starts + self.position])


class StartAndEnd(nn.Module):
    """How likely an answer goes from one position to another: the sum of two scores."""

    def __init__(self, start: int, end: int, out: nn.Linear):
        super().__init__()
        self.start, self.end, self.out = start, end, out

    def forward(self, x: Packed):
        """[n d] -> [b 1]"""
        scores = self.out(x.data)  # [n 2]
        return (scores[x.lengths.starts + self.start, 0] + scores[x.lengths.starts + self.end, 1])[:, None]


class Halves(nn.Module):
    """Reads both texts of a pair by themselves: the same positions, in twice as many sequences."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.inner, self.embeddings = encoder, encoder.embeddings

    def forward(self, ids: Packed, types, watch=None, vectors=None, first=False):
        second = types.split(list(ids.lengths.each))
        each = [half for part in second for half in (int((part == 0).sum()), int((part == 1).sum()))]
        return self.inner(Packed(ids.data, Lengths(tuple(each))), None, watch, vectors)


class Cosine(nn.Module):
    """How alike the two texts of a pair are."""

    def forward(self, x: Packed):
        """[n d], 2b sequences -> [b 1]"""
        return nn.functional.cosine_similarity(*x.means().unflatten(0, (-1, 2)).unbind(1))[:, None]


@pytest.fixture
def asking(family):
    """A classifier's encoder with another head, and another way to read if asked for."""

    def asking(head, wrap=lambda encoder: encoder) -> HeadedEncoder:
        _, model = family("Bert")
        model.encoder = wrap(model.encoder)
        return Questioned(model, head)

    return asking


def linear(size: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(32, size)


HEADS = {
    "a tag": (At(6, linear(4)), Question(3)),
    "a tag and not another": (At(6, linear(4)), Question(3, 1)),
    "a span": (StartAndEnd(4, 9, linear(2)), Question(0)),
    "a number": (At(0, linear(1)), Question(0)),
}


@pytest.mark.parametrize(("head", "question"), HEADS.values(), ids=HEADS)
def test_other_questions_are_answered_like_a_class(head, question, asking, spelled):
    model, pieces = asking(head), random_pieces(spelled)
    own = {name: attribution(name, model, pieces, question) for name in METHODS if name != "occlusion"}
    assert own["integrated_gradients"].gap < 0.02 * np.abs(own["integrated_gradients"].positions).sum()
    places = {"At": [getattr(head, "position", 0)], "StartAndEnd": [4, 9]}[type(head).__name__]
    assert np.flatnonzero(read_at(model, pieces, question)).tolist() == places
    assert all(np.abs(found.positions).max() > 0 for found in own.values())


def test_a_number_can_be_occluded(asking, spelled):
    head, question = HEADS["a number"]
    model, pieces = asking(head), random_pieces(spelled)
    found = attribution("occlusion", model, pieces, question)
    assert np.abs(found.words).max() > 0


def test_the_likeness_of_two_texts(asking, spelled):
    model, pieces = asking(Cosine(), Halves), random_pieces(spelled, 15, sides=2)
    found = {name: attribution(name, model, pieces, Question(0)) for name in METHODS}
    gap = found["integrated_gradients"].gap
    assert gap < 0.02 * np.abs(found["integrated_gradients"].positions).sum() + 1e-4
    for each in found.values():
        assert all(np.abs(each.positions[pieces.types == side]).max() > 0 for side in (0, 1))
