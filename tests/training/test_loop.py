"""The training loop: what changes nothing must change nothing, what is asked for must happen."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import headwise
from headwise import finetune
from headwise.core import kernels
from headwise.core.transformer import HeadedEncoder
from headwise.families.checkpoint import read_model
from headwise.reading import batches
from headwise.reading.batches import Examples
from headwise.reading.text import TextTokenizer
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.text_classification import TextClassification
from headwise.training import loop
from headwise.training.inference import predicted
from headwise.training.loop import Evaluation, NotFinite, State, Step, passes_of_step, rows_of_step, training
from headwise.training.optimizers import optimizer
from headwise.training.recipe import Recipe

TASK = TextClassification(("bad", "good"))
PLAIN = Recipe(learning_rate=1e-2, epochs=2, batch_size=8, dropout=0.0, eval_steps=1000, optimizer="sgd")


@pytest.fixture(scope="module")
def examples(directory_of, films):
    """32 rows of 4 to 40 tokens."""
    tokenizer = TextTokenizer.read(directory_of("bert"), 40)
    texts = [" ".join([text] * (1 + i % 5)) for i in range(4) for text, _ in films]
    targets = np.array([TASK.labels.index(label) for _, label in films] * 4)
    return TASK.examples(tokenizer, texts, targets)


@pytest.fixture
def begin(directory_of):
    """A state before its first step."""

    def begin(recipe):
        model = read_model(directory_of("bert"), 2, dropout=recipe.dropout, seed=recipe.seed).model
        return State(model, optimizer(model, recipe))

    return begin


@pytest.fixture
def trained(begin, examples):
    def trained(recipe, task=TASK):
        state = begin(recipe)
        events = list(training(state, task, examples, examples, recipe))
        return state, events

    return trained


def furthest(one, other):
    """The largest difference of any weight."""
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


@pytest.mark.parametrize("weights", [None, (0.3, 3.0)])
def test_32_rows_at_once_are_8_rows_four_times(weights, trained):
    task = replace(TASK, class_weights=weights, label_smoothing=0.1)
    at_once, _ = trained(replace(PLAIN, batch_size=32, epochs=6), task)
    in_parts, _ = trained(replace(PLAIN, batch_size=8, gradient_accumulation_steps=4, epochs=6), task)
    one_by_one, _ = trained(replace(PLAIN, batch_size=1, gradient_accumulation_steps=32, epochs=6), task)
    assert at_once.step == in_parts.step == one_by_one.step == 6
    assert at_once.losses == pytest.approx(in_parts.losses, abs=1e-5)
    assert at_once.losses == pytest.approx(one_by_one.losses, abs=1e-5)
    assert furthest(at_once, in_parts) < 1e-5 and furthest(at_once, one_by_one) < 1e-5
    assert at_once.losses[0] > 1.05 * at_once.losses[-1]  # it did learn


def test_a_small_budget_of_tokens_changes_nothing(trained, monkeypatch):
    whole, _ = trained(PLAIN)
    monkeypatch.setattr(loop, "COMPARED", 64)
    monkeypatch.setattr(HeadedEncoder, "pass_tokens", 64)
    cut, _ = trained(PLAIN)
    assert furthest(whole, cut) < 1e-5
    assert whole.history[-1]["loss"] == pytest.approx(cut.history[-1]["loss"], abs=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_passes_at_once_end_in_the_same_bits_and_near_those_in_turn(trained, monkeypatch, precision):
    monkeypatch.setattr(HeadedEncoder, "pass_tokens", 32)  # some six passes to a step
    monkeypatch.setattr(loop, "AT_ONCE", 0)
    recipe = replace(PLAIN, dropout=0.1, precision=precision)
    in_turn, _ = trained(recipe)
    torch.set_num_threads(3)
    try:
        at_once, again = trained(recipe)[0], trained(recipe)[0]
    finally:
        torch.set_num_threads(1)
    assert furthest(at_once, again) == 0 and at_once.losses == again.losses
    assert furthest(at_once, in_turn) < (1e-5 if precision == "float32" else 0.01)
    assert len(set(at_once.losses)) == len(at_once.losses)


@pytest.mark.parametrize(
    ("task", "few_shot", "whole"),
    [(TASK, False, False), (TASK, True, True), (FeatureExtraction("pairs"), False, True)],
)
def test_batches_whose_rows_are_compared_stay_whole(examples, task, few_shot, whole):
    recipe = replace(PLAIN, few_shot=few_shot, batch_size=8, gradient_accumulation_steps=2)
    found = passes_of_step(np.arange(16), task, examples, 40, recipe)
    assert sorted(np.concatenate(found)) == list(range(16))
    assert ([len(rows) for rows in found] == [8, 8]) == whole and (len(found) > 4) != whole


def test_training_leaves_the_callers_random_numbers_alone(trained):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trained(replace(PLAIN, dropout=0.1, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_step_is_the_gradient_of_the_mean_loss(begin, examples):
    recipe = replace(PLAIN, max_grad_norm=0.0, momentum=0.0, weight_decay=0.0, warmup_ratio=0.0, epochs=1)
    state = begin(recipe)
    before = copy.deepcopy(state.model)
    task = replace(TASK, class_weights=(0.5, 2.0))
    event = next(training(state, task, examples, examples, recipe))
    rows = rows_of_step(0, examples, recipe)
    targets = torch.from_numpy(examples.targets[rows])
    logits = before(*batches.packed(examples.tokens, rows))
    loss = torch.nn.functional.cross_entropy(logits, targets, torch.tensor(task.class_weights))
    loss.backward()
    assert event.loss == pytest.approx(loss.item(), abs=1e-6) and event.step == 1
    assert event.tokens == examples.tokens.lengths[rows].sum()
    for (name, now), then in zip(state.model.named_parameters(), before.parameters(), strict=True):
        assert torch.allclose(now, then - 1e-2 * then.grad, atol=1e-6), name


def test_long_gradients_are_shortened(begin, examples):
    changes = {}
    for most in (0.0, 1e-3):
        recipe = replace(PLAIN, max_grad_norm=most, momentum=0.0, weight_decay=0.0, warmup_ratio=0.0)
        state = begin(recipe)
        before = torch.cat([one.detach().flatten() for one in state.model.parameters()]).clone()
        event = next(training(state, TASK, examples, examples, recipe))
        after = torch.cat([one.detach().flatten() for one in state.model.parameters()])
        changes[most] = ((after - before).norm().item() / 1e-2, event.grad_norm)
    assert changes[0.0][0] == pytest.approx(changes[0.0][1], rel=1e-3)  # as it was
    assert changes[1e-3][1] == pytest.approx(changes[0.0][1])  # told as it was
    assert changes[1e-3][0] == pytest.approx(1e-3, rel=1e-2)


def test_an_epoch_sees_every_row_once_and_the_next_in_another_order(examples):
    recipe = replace(PLAIN, batch_size=5, gradient_accumulation_steps=2)
    epochs = [[rows_of_step(4 * epoch + step, examples, recipe) for step in range(4)] for epoch in (0, 1)]
    assert [len(rows) for rows in epochs[0]] == [10, 10, 10, 2]
    assert all(sorted(np.concatenate(epoch)) == list(range(32)) for epoch in epochs)
    assert not np.array_equal(*map(np.concatenate, epochs))


def test_dropout_is_on_in_training_and_off_in_evaluation(begin, examples):
    state = begin(replace(PLAIN, dropout=0.5))
    first, again = (predicted(state.model, TASK, examples)[0] for _ in range(2))
    assert torch.equal(first, again)
    seen = []
    state.model.encoder.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    list(training(state, TASK, examples, examples, replace(PLAIN, dropout=0.5, epochs=1)))
    assert seen == [True] * 4 + [False]


def test_predictions_come_back_in_the_order_of_the_rows(begin, examples, monkeypatch):
    model = begin(PLAIN).model
    logits, loss = predicted(model, TASK, examples)
    for row in (0, 13, 31):
        alone, _ = predicted(model, TASK, Examples(examples.tokens.select(np.array([row]))))
        assert torch.allclose(alone[0], logits[row], atol=1e-5)
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(examples.targets))
    assert loss == pytest.approx(expected.item(), abs=1e-6)
    told = []
    monkeypatch.setattr(HeadedEncoder, "pass_tokens", 200)
    predicted(model, TASK, examples, done=lambda rows, total: told.append((rows, total)))
    assert len(told) > 2 and told[-1] == (32, 32)


# When to evaluate, when to stop, what to keep


@pytest.fixture
def scripted(monkeypatch, begin, examples):
    """A run whose evaluations score what the script says."""

    def scripted(scores, recipe):
        script = iter(scores)

        class Scored:
            def named(self, name):
                return self.value if name == (recipe.metric or "accuracy") else 0.5

        def judged(*_):
            scored = Scored()
            scored.value = next(script)
            return scored

        monkeypatch.setattr(TextClassification, "scored", judged)
        state = begin(recipe)
        weights = {}
        for event in training(state, TASK, examples, examples, recipe):
            if isinstance(event, Evaluation):
                weights[event.step] = {name: one.clone() for name, one in state.model.state_dict().items()}
        return state, weights

    return scripted


@pytest.mark.parametrize("metric", [None, "macro_f1"])
def test_it_stops_out_of_patience_and_keeps_the_best_weights_not_the_last(metric, scripted):
    recipe = replace(PLAIN, epochs=50, eval_steps=2, patience=3, metric=metric)
    state, weights = scripted([0.5, 0.7, 0.6, 0.8, 0.8, 0.7, 0.8, 0.9], recipe)
    assert [entry["best"] for entry in state.history] == [True, True, False, True, False, False, False]
    assert [entry["stop"] for entry in state.history] == [False] * 6 + [True]
    assert state.step == 14 and state.best_step == 8 and state.best_score == 0.8
    assert all(torch.equal(state.best[name], weights[8][name]) for name in state.best)
    assert any(not torch.equal(state.best[name], weights[14][name]) for name in state.best)


def test_where_the_metric_is_0_patience_and_the_best_weights_go_by_the_loss(begin, examples):
    task = TextClassification(TASK.labels, multi_label=True)
    truth = np.eye(2, dtype=np.float32)[examples.targets] * np.array([1, 0], np.float32)  # hardly ever above 0.5
    rows = replace(examples, targets=truth, truth=truth)
    recipe = replace(PLAIN, learning_rate=1e-3, epochs=8, eval_steps=4, patience=2)
    state = begin(recipe)
    with torch.no_grad():
        state.model.head.out.bias.fill_(-6.0)
    list(training(state, task, rows, rows, recipe))
    losses = [entry["loss"] for entry in state.history]
    assert {entry["scores"]["micro_f1"] for entry in state.history} == {0.0}
    assert losses == sorted(losses, reverse=True) and state.best_step == state.step == 32


def test_ties_above_0_are_none_to_be_broken(scripted):
    state, _ = scripted([0.5, 0.5, 0.5, 0.5], replace(PLAIN, epochs=50, eval_steps=2, patience=3))
    assert state.best_step == 2 and state.step == 8


def test_it_ends_with_an_evaluation_even_where_none_is_due(trained):
    state, events = trained(replace(PLAIN, epochs=1.75, eval_steps=3))
    kinds = [("step" if isinstance(event, Step) else "evaluation", event.step) for event in events]
    assert [step for kind, step in kinds if kind == "evaluation"] == [3, 6, 7]
    assert [step for kind, step in kinds if kind == "step"] == list(range(1, 8))
    assert events[-1].stop and state.stopped and len(state.losses) == 7


# Numbers that are none


def test_a_loss_that_is_no_number_names_its_rows(begin, examples):
    state = begin(PLAIN)
    worst = examples.tokens.ids[examples.tokens.starts[3] + 1]  # a token, and the rows that hold it
    with torch.no_grad():
        state.model.encoder.embeddings.tokens.weight[int(worst)] = float("inf")
    with pytest.raises(NotFinite) as found:
        list(training(state, TASK, examples, examples, replace(PLAIN, batch_size=32)))
    holding = [row for row in range(32) if worst in examples.tokens.select(np.array([row])).ids]
    assert sorted(found.value.rows) == holding != list(range(32)) and found.value.step == 1


def test_weights_that_overflow_in_the_last_step_are_never_kept(begin, examples):
    recipe = replace(PLAIN, epochs=0.25, max_grad_norm=0.0)
    state = begin(recipe)
    run = training(state, TASK, examples, examples, recipe)
    next(run)
    with torch.no_grad():
        state.model.head.out.bias.fill_(float("nan"))
    with pytest.raises(NotFinite):
        next(run)
    assert state.best == {}


# The same bits


@pytest.fixture
def run(directory_of, films, table, tmp_path):
    file = table(tmp_path / "films.tsv", films)

    def run(**options):
        how = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 3, "with_baselines": False, "quiet": True}
        return headwise.train(file, file, model=str(directory_of("bert")), **how | options)

    return run


def bits(model):
    return {name: weight.numpy().tobytes() for name, weight in model.checkpoint.model.state_dict().items()}


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(run):
    first = bits(run(seed=1))
    torch.manual_seed(5)
    torch.rand(3)
    assert bits(run(seed=1)) == first
    assert bits(run(seed=2)) != first


def test_the_users_own_random_numbers_are_left_alone(run):
    torch.manual_seed(7)
    np.random.seed(7)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    run(with_baselines=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numbers)


def test_what_is_cut_is_said_in_rows_and_tokens(run, films):
    model = run(max_length=6, epochs=1)
    tokenizer = model.tokenizer.tokenizer
    lengths = [len(tokenizer.encode(text)) for text, _ in films]
    rows, lost = sum(length > 6 for length in lengths), sum(max(0, length - 6) for length in lengths)
    noted = next(note for note in model.report.notes if note.startswith("train: "))
    assert f"cut at 6: {rows} rows ({rows / 8:.1%}) lose {lost} tokens ({lost / sum(lengths):.1%} of all)" in noted
    assert model.tokenizer.encode(["a fine film , warm and funny"]).lengths.tolist() == [6]
    assert "nothing cut" in next(note for note in run(epochs=1).report.notes if note.startswith("train: "))


def test_the_metric_that_chooses_can_be_chosen(run):
    assert run(metric="macro_f1", epochs=1).report.metric == "macro_f1"
    with pytest.raises(headwise.InputError, match="metric 'f1': expected accuracy, macro_f1, weighted_f1, micro_f1"):
        run(metric="f1")


def test_one_seed_means_one_dropout_per_step_whatever_came_before(begin, examples):
    """Dropout follows from (seed, step) alone, so a resumed run draws what an uninterrupted one would."""
    recipe = replace(PLAIN, dropout=0.3)
    first, second = begin(recipe), begin(recipe)
    torch.rand(100)
    one = loop.one_step(first, TASK, examples, recipe, 8)
    torch.rand(17)
    other = loop.one_step(second, TASK, examples, recipe, 8)
    assert one.loss == other.loss and furthest(first, second) == 0
    assert loop.one_step(begin(replace(recipe, seed=7)), TASK, examples, replace(recipe, seed=7), 8).loss != one.loss


def test_the_model_that_comes_back_has_the_best_weights_not_the_last(run, monkeypatch):
    usual, seen = finetune.training, []

    def spoiled(state, *rest):
        yield from usual(state, *rest)
        seen.append({name: weight.clone() for name, weight in state.best.items()})
        with torch.no_grad():
            state.model.head.out.bias += 1  # as if more steps had followed

    monkeypatch.setattr(finetune, "training", spoiled)
    weights = run().checkpoint.model.state_dict()
    held = {name: weight for name, weight in seen[0].items() if "tokens" not in name}  # of those, the rows in use
    assert held and all(torch.equal(weight, weights[name]) for name, weight in held.items())


def test_bfloat16_learns_what_float32_learns(trained, examples):
    """Eight significant bits in the products, master weights in full: the same losses to about a hundredth."""
    recipe = replace(PLAIN, optimizer="adamw", learning_rate=3e-3, epochs=5)
    plain, _ = trained(recipe)
    short, _ = trained(replace(recipe, precision="bfloat16"))
    assert 0 < max(abs(a - b) for a, b in zip(plain.losses, short.losses, strict=True)) < 0.05
    assert short.losses[-1] < 0.5 * short.losses[0]
    assert {weight.dtype for weight in short.model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("instructions", "half", "precision"), [(False, 1, "float32"), (True, 9, "float32"), (True, 1, "bfloat16")]
)
def test_it_trains_in_bfloat16_where_that_is_faster(instructions, half, precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": instructions})
    monkeypatch.setattr(kernels, "seconds", lambda x: half if x.dtype == torch.bfloat16 else 5)
    kernels.bfloat16_pays.cache_clear()
    try:
        assert Recipe.of(100, 384).precision == precision
        assert Recipe.of(100, 384, precision="float32").precision == "float32"
    finally:
        kernels.bfloat16_pays.cache_clear()
