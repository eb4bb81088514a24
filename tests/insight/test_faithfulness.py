"""Receipts: right numbers, trust where it is due, and none where it is not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from headwise.core import spec
from headwise.core.transformer import HeadedEncoder, initialise
from headwise.insight.explanation import Attribution
from headwise.insight.faithfulness import Perturbed, chosen, gain, keeping_first, receipt
from headwise.insight.question import Pieces, Question, Word, logits_keeping
from headwise.insight.subject import of_labels
from headwise.tasks.text_classification import TextClassification

TASK = TextClassification(("bad", "good"))
GOOD = Question(1)
D = 16


class Adding(nn.Module):
    """A classifier whose log-odds of 'good' are what its tokens are worth, added up: what each word does is known."""

    def __init__(self, worth: np.ndarray, start: float = -2.0):
        super().__init__()
        self.worth, self.start, self.seen = torch.from_numpy(worth).float(), start, 0

    def forward(self, ids, types=None):
        self.seen += len(ids.lengths.each)
        sums = torch.zeros(len(ids.lengths.each)).index_add(0, ids.lengths.sequence, self.worth[ids.data])
        return torch.stack([torch.zeros_like(sums), sums + self.start], 1)


def text_of(ids) -> Pieces:
    """A text of one-piece words between two special tokens."""
    ids = np.array([1, *ids, 2], np.int64)
    words = tuple(Word("w", 2 * i, 2 * i + 1) for i in range(len(ids) - 2))
    word_of = np.concatenate([[-1], np.arange(len(words)), [-1]]).astype(np.int64)
    return Pieces("w " * len(words), ids, np.zeros_like(ids), ("w",) * len(ids), words, word_of)


def worth_of(generator, trigger=None):
    """What 60 tokens are worth: drawn, or nothing but one."""
    worth = generator.normal(size=60) if trigger is None else np.zeros(60)
    worth[:3] = 0
    if trigger is not None:
        worth[trigger] = 4
    return worth


def drawn_encoder(seed):
    """A Transformer drawn as BERT is before training."""
    attention = spec.Attention(n_heads=4, n_kv_heads=4, d_head=D // 4)
    block = spec.Block(attention, feed_forward=spec.FeedForward(32, "gelu"))
    embeddings = spec.Embeddings(60, D, 1.0, "learned", 64, norm=spec.Norm())
    model = HeadedEncoder(spec.Stack(D, embeddings, (block, block)), spec.Head())
    initialise(model, torch.Generator().manual_seed(seed))
    return model.eval()


@pytest.mark.parametrize("length", [6, 8, 15, 40])
def test_the_trigger_is_trusted_and_its_opposite_is_not(length):
    trusted = 0
    for seed in range(20):
        generator = np.random.default_rng([length, seed])
        ids = generator.integers(3, 59, length)
        ids[generator.integers(length)] = 59
        model, pieces = Adding(worth_of(generator, 59)), text_of(ids)
        right = (ids == 59) + generator.normal(size=length) * 0.03
        trusted += receipt(of_labels(model, TASK), pieces, GOOD, right, seed=seed).trusted
        assert not receipt(of_labels(model, TASK), pieces, GOOD, -right, seed=seed).trusted
    assert trusted >= 19


@pytest.mark.parametrize("trigger", [None, 59])
def test_a_random_attribution_is_rarely_trusted(trigger):
    trusted = []
    for seed in range(300):
        generator = np.random.default_rng(seed)
        ids = generator.integers(3, 59, generator.integers(4, 25))
        ids[0] = 59
        model = Adding(worth_of(generator, trigger))
        noise = generator.normal(size=len(ids))
        trusted.append(receipt(of_labels(model, TASK), text_of(ids), GOOD, noise, seed=seed).trusted)
    assert np.mean(trusted) <= 0.05


def test_a_true_attribution_of_many_words_is_trusted():
    trusted = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        worth, ids = worth_of(generator), generator.integers(3, 60, 20)
        model = Adding(worth, start=-worth[ids].sum() / 2)
        trusted.append(receipt(of_labels(model, TASK), text_of(ids), GOOD, worth[ids], seed=seed).trusted)
    assert np.mean(trusted) >= 0.95


def test_a_model_of_random_weights_is_refused_however_true_the_attribution():
    reasons = []
    for seed in range(20):
        pieces = text_of(np.random.default_rng(seed).integers(3, 60, 20))
        trial = Perturbed(of_labels(drawn_encoder(seed), TASK), pieces, GOOD)
        own = receipt(trial.subject, pieces, GOOD, trial.occlusion, perturbed=trial)
        assert not own.trusted
        reasons.append(own.reason)
    assert sum("hardly depends on the words" in reason for reason in reasons) >= 19


def test_why_one_label_and_not_another():
    """The probability asked about then goes from -1 to 1, so twice as much must move."""
    worth, ids = worth_of(np.random.default_rng(0), 59), np.r_[np.arange(3, 18), 59]
    words, pieces = (ids == 59).astype(float), text_of(ids)
    for height, expected in ((4.0, True), (0.3, False)):
        worth[59] = height
        one = receipt(of_labels(Adding(worth, -height / 2), TASK), pieces, GOOD, words)
        two = receipt(of_labels(Adding(worth, -height / 2), TASK), pieces, Question(1, 0), words)
        assert one.trusted == two.trusted == expected
        assert gain(two.curves) == pytest.approx(2 * gain(one.curves), abs=1e-6)


def test_too_short_to_tell():
    for length in range(4):
        ids = [59, 5, 6][:length]
        model = Adding(worth_of(np.random.default_rng(0), 59))
        own = receipt(of_labels(model, TASK), text_of(ids), GOOD, np.eye(1, length)[0])
        assert not own.trusted and own.reason.startswith(f"too short to tell: {length} words")
        assert np.isfinite([own.comprehensiveness, own.sufficiency, own.curves.deletion_area]).all()


def test_numbers_are_those_of_the_plain_computation():
    model, generator = drawn_encoder(0), np.random.default_rng(0)
    with torch.no_grad():
        model.head.out.weight.mul_(300)  # so that there are differences to get wrong
    pieces, words = text_of(generator.integers(3, 60, 12)), generator.normal(size=12)
    own = receipt(of_labels(model, TASK), pieces, GOOD, words)

    def plainly(kept):
        return float(TASK.probabilities(logits_keeping(model, pieces, np.array([kept])))[0, 1])

    order = np.argsort(-words)
    counts = (own.shares * 12).round().astype(int)
    assert counts[0] == 0 and counts[-1] == 12 and len(counts) == 11
    deletion = [plainly(~np.isin(np.arange(12), order[:count])) for count in counts]
    insertion = [plainly(np.isin(np.arange(12), order[:count])) for count in counts]
    assert own.curves.deletion == pytest.approx(deletion, abs=1e-6)
    assert own.curves.insertion == pytest.approx(insertion, abs=1e-6)
    for curves in (own.curves, own.occlusion, *own.random):
        assert (curves.deletion[0], curves.deletion[-1]) == (curves.insertion[-1], curves.insertion[0])
    steps = np.diff(own.shares)
    middle = (own.curves.deletion[1:] + own.curves.deletion[:-1]) / 2
    assert own.curves.deletion_area == pytest.approx(float(steps @ middle))
    most = [order[:count] for count in (1, 2, 6)]
    without = np.mean([plainly(~np.isin(np.arange(12), some)) for some in most])
    only = np.mean([plainly(np.isin(np.arange(12), some)) for some in most])
    assert own.comprehensiveness == pytest.approx(deletion[0] - without, abs=1e-6)
    assert own.sufficiency == pytest.approx(deletion[0] - only, abs=1e-6)
    left = [deletion[0] - plainly(np.arange(12) != word) for word in range(12)]
    assert Perturbed(of_labels(model, TASK), pieces, GOOD).occlusion == pytest.approx(left, abs=1e-6)


def test_nothing_is_computed_twice():
    generator = np.random.default_rng(0)
    worth, pieces = worth_of(generator), text_of(generator.integers(3, 60, 4))
    model = Adding(worth)
    trial = Perturbed(of_labels(model, TASK), pieces, GOOD)
    receipt(of_labels(model, TASK), pieces, GOOD, worth[pieces.ids[1:-1]], perturbed=trial)
    assert model.seen == len(trial.known) <= 16  # 4 words are there or gone in 16 ways
    receipt(of_labels(model, TASK), pieces, GOOD, -worth[pieces.ids[1:-1]], perturbed=trial)
    assert model.seen == len(trial.known) <= 16
    Perturbed(of_labels(model, TASK), pieces, GOOD)(np.ones((5, 4), bool))
    assert model.seen == len(trial.known) + 1


def test_the_same_seed_gives_the_same_receipt_and_occlusion_is_as_good_as_the_truth():
    generator = np.random.default_rng(0)
    worth, ids = worth_of(generator), generator.integers(3, 60, 20)
    model = Adding(worth, start=-worth[ids].sum() / 2)
    one, same, other = (
        receipt(of_labels(model, TASK), text_of(ids), GOOD, worth[ids], seed=seed) for seed in (0, 0, 1)
    )
    assert [gain(each) for each in one.random] == [gain(each) for each in same.random]
    assert [gain(each) for each in one.random] != [gain(each) for each in other.random]
    assert gain(one.occlusion) == pytest.approx(gain(one.curves), abs=0.02)
    assert gain(one.occlusion) > max(gain(each) for each in one.random)


def test_a_long_text_takes_few_passes():
    generator = np.random.default_rng(0)
    ids = generator.integers(3, 60, 510)
    model = Adding(worth_of(generator))
    own = receipt(of_labels(model, TASK), text_of(ids), GOOD, generator.normal(size=510))
    assert model.seen <= 110 and len(own.shares) == 5


def test_keeping_first():
    kept = keeping_first(np.array([2, 0, 1]), [0, 1, 3])
    assert kept.tolist() == [[False] * 3, [False, False, True], [True] * 3]


def test_the_first_trusted_is_chosen():
    ids = np.r_[59, np.arange(3, 18)]
    model, right = Adding(worth_of(np.random.default_rng(0), 59)), np.eye(1, 16)[0]

    def by(method, words):
        own = receipt(of_labels(model, TASK), text_of(ids), GOOD, words)
        return Attribution(method, words, words, 0.0, 0.0, receipt=own)

    wrong, good, slow = by("cheap", -right), by("dearer", right), by("dearest", right)
    assert chosen([wrong, good, slow])[0] == "dearer"
    name, sentence = chosen([wrong])
    assert name is None and sentence.startswith("not trustworthy here; cheap: ")
    assert chosen([])[0] is None


def test_a_reason_that_several_methods_share_is_said_once():
    proof = SimpleNamespace(trusted=False, reason="too short to tell")
    tried = [SimpleNamespace(method=name, receipt=proof) for name in ("occlusion", "gradient")]
    assert chosen(tried) == (None, "not trustworthy here; occlusion, gradient: too short to tell")
