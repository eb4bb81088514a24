"""The training loop, as a generator: it trains, says what happened, and leaves the rest to whoever listens."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headwise.core import kernels
from headwise.core.transformer import HeadedEncoder
from headwise.reading.batches import Examples, Rows, even_passes, passes, passes_for, shuffled
from headwise.tasks.task import Task
from headwise.training.cores import Turns, each_on_a_core
from headwise.training.few_shot import contrasted, fit, in_pairs
from headwise.training.inference import DTYPES, features, outputs_of, predicted
from headwise.training.optimizers import learning, learning_rate, set_learning_rate
from headwise.training.recipe import Precision, Recipe

COMPARED = 8192  # tokens of a pass whose rows are compared with each other
# Tokens of a run's usual pass, where several are computed at once. Shorter ones would gain a twentieth at most, while
# each core's heap has holes of its own: 400 MiB in all for a model with a large vocabulary.
AT_ONCE = 768


@dataclass(frozen=True)
class Step:
    """One step of the optimizer is done."""

    step: int  # from 1
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """The model was tried on the validation rows."""

    step: int
    loss: float
    scores: dict[str, float]
    best: bool  # better than ever before in this run
    stop: bool  # the last one: out of steps, or out of patience
    collapsed: bool = False  # every row got the same answer, while the truth has several


class NotFinite(ArithmeticError):
    """A loss is infinite or no number, at these rows of the training examples."""

    def __init__(self, step: int, rows: Rows):
        super().__init__(f"loss is not finite at step {step}")
        self.step, self.rows = step, rows


@dataclass
class State:
    """All that changes during a run: what a checkpoint holds."""

    model: HeadedEncoder
    optimizer: torch.optim.Optimizer
    step: int = 0
    best_step: int = 0
    best_score: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)  # the learning weights of best_step
    seconds: float = 0.0  # in steps and evaluations
    losses: list[float] = field(default_factory=list)  # of every step so far
    history: list[dict[str, Any]] = field(default_factory=list)  # evaluations so far

    @property
    def stopped(self) -> bool:
        """Whether the last evaluation ended the run."""
        return bool(self.history and self.history[-1]["stop"])

    @property
    def best_loss(self) -> float:
        """That of best_step on the validation rows."""
        return next((entry["loss"] for entry in self.history if entry["step"] == self.best_step), math.inf)

    @property
    def collapsed(self) -> bool:
        """Whether even the best weights give every validation row the same answer."""
        return any(entry.get("collapsed", False) for entry in self.history if entry["step"] == self.best_step)


def training(state: State, task: Task, train: Examples, valid: Examples, recipe: Recipe) -> Iterator[Step | Evaluation]:
    """Train from where the state is until the recipe ends, and leave the best weights in state.best.

    Everything follows from the state, the data and the recipe: the order of rows, and what a task draws, from (seed,
    epoch), dropout from (seed, step, pass). So a run that goes on from a checkpoint ends in the same bits as one never
    interrupted.
    Raises NotFinite.
    """
    steps, every = recipe.steps(len(train)), recipe.evaluate_every(len(train))
    if recipe.few_shot and state.step == 0:  # a head that begins at random would first undo what the encoder knows
        fit_head(state.model, task, train, recipe.precision)
    while not state.stopped:
        due = state.step > 0 and (state.step % every == 0 or state.step == steps)
        if due and (not state.history or state.history[-1]["step"] < state.step):
            yield evaluation(state, task, train, valid, recipe, steps)
        else:
            yield one_step(state, task, train, recipe, steps)


def evaluation(state: State, task: Task, train: Examples, valid: Examples, recipe: Recipe, steps: int) -> Evaluation:
    """Try the model on the validation rows; keep its weights where it is better than ever before.

    A score of 0, such as F1 before any label reaches its threshold, tells nothing apart: there a lower loss is better.
    The training rows of the step before are to blame where the model makes no numbers any more.
    """
    began = time.perf_counter()
    if recipe.few_shot:
        fit_head(state.model, task, train, recipe.precision)
    metric = recipe.metric or task.metric
    outputs, loss = predicted(state.model, task, valid, precision=recipe.precision)
    if not np.isfinite(loss):
        raise NotFinite(state.step, rows_of_step(state.step - 1, train, recipe))
    answers = task.decide(valid, outputs)
    scores = task.scored(valid.truth, answers)
    score = scores.named(metric)
    best = score > state.best_score or (score == state.best_score == 0 and loss < state.best_loss)
    if best:
        state.best_step, state.best_score = state.step, score
        state.best = {name: weight.detach().clone() for name, weight in learning(state.model).items()}
    waited = sum(entry["step"] > state.best_step for entry in state.history) + (not best)
    stop = state.step == steps or 0 < recipe.patience <= waited
    seen = {name: scores.named(name) for name in dict.fromkeys((metric, *[*task.metrics][:2]))}
    done = Evaluation(state.step, loss, seen, best, stop, task.collapsed(valid.truth, answers))
    state.history.append(asdict(done))
    state.seconds += time.perf_counter() - began
    return done


def one_step(state: State, task: Task, train: Examples, recipe: Recipe, steps: int) -> Step:
    """Forward, backward and update over the rows whose turn it is."""
    began = time.perf_counter()
    rows = rows_of_step(state.step, train, recipe)
    train = task.of_epoch(train, recipe.seed, state.step // recipe.steps_per_epoch(len(train)))
    rate = learning_rate(recipe, state.step, steps)
    total = float(task.weights(train.targets[rows]).sum())
    state.model.train()
    loss = gradients(state, task, train, rows, total, recipe)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), recipe.max_grad_norm or float("inf"))
    if not torch.isfinite(norm):
        raise NotFinite(state.step + 1, rows)
    set_learning_rate(state.optimizer, rate)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.losses.append(loss)
    tokens, seconds = int(train.lengths[rows].sum()), time.perf_counter() - began
    state.seconds += seconds
    return Step(state.step, state.losses[-1], rate, float(norm), tokens, seconds)


def gradients(state: State, task: Task, train: Examples, rows: Rows, total: float, recipe: Recipe) -> float:
    """Forward and backward over a step's rows, in passes, long ones with a core to each; the step's loss."""
    parts = passes_of_step(rows, task, train, state.model.pass_tokens, recipe)
    turns = Turns()

    def make(number: int) -> float:
        with turns.taken(number), kernels.SameDraws(generator(recipe, state.step, number)):
            return one_pass(state, task, train, parts[number], total, recipe)

    at_once = have_long_passes(train, state.model.pass_tokens, recipe)
    in_turn = learning(state.model).values() if at_once and len(parts) > 2 else ()  # two sum up alike in either order
    with turns.of(in_turn):
        return sum((each_on_a_core if at_once else map)(make, range(len(parts))))


def one_pass(state: State, task: Task, train: Examples, rows: Rows, total: float, recipe: Recipe) -> float:
    """Forward and backward over some of a step's rows; their share of the step's loss, which is a mean over all.

    Because every pass divides by the whole step's weight, cutting a step into more passes changes nothing.
    """
    batch = train.batch(rows)
    if recipe.few_shot:
        states = state.model.states(batch.ids, batch.types, DTYPES[recipe.precision])
        losses = contrasted(state.model.head, task, states, batch)  # [b]
    else:
        outputs = outputs_of(state.model, batch, recipe.precision)
        losses = task.losses(task.pooled(outputs, batch.counts), batch)  # [b]
    if not torch.isfinite(losses).all():
        raise NotFinite(state.step + 1, rows[~torch.isfinite(losses.detach()).numpy()])
    loss = losses.sum() / total
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def passes_of_step(rows: Rows, task: Task, train: Examples, most_tokens: int, recipe: Recipe) -> list[Rows]:
    """The rows of a step, cut into those of each pass; the same whatever the machine."""
    if task.compares or recipe.few_shot:  # a batch stays whole
        return list(passes(rows, train.lengths, COMPARED, recipe.batch_size))
    return even_passes(rows, train.lengths, most_tokens)


def have_long_passes(train: Examples, most_tokens: int, recipe: Recipe) -> bool:
    """Whether the passes of a step of usual rows are long enough to be computed at once: so for all steps of a run."""
    tokens = train.lengths.mean() * recipe.batch_size * recipe.gradient_accumulation_steps
    return bool(tokens >= AT_ONCE * passes_for(tokens, most_tokens))


def generator(recipe: Recipe, step: int, number: int) -> torch.Generator:
    """What dropout draws from in a pass of a step, both counted from 0."""
    return torch.Generator().manual_seed(recipe.seed * 1_000_003 + step + number * 7_368_787)


def rows_of_step(step: int, train: Examples, recipe: Recipe) -> Rows:
    """The rows of a step, counted from 0; an epoch's last step takes what is left."""
    count = len(train)
    per_step = recipe.batch_size * recipe.gradient_accumulation_steps
    epoch, place = divmod(step, recipe.steps_per_epoch(count))
    order = in_pairs(train.targets, recipe.seed, epoch) if recipe.few_shot else shuffled(count, recipe.seed, epoch)
    return order[place * per_step : (place + 1) * per_step]


def fit_head(model: HeadedEncoder, task: Task, train: Examples, precision: Precision) -> None:
    """Make the head's last layer the best one for what the model makes of the training rows now."""
    vectors = torch.from_numpy(features(model, train.tokens, precision, model.head.features))
    fit(model.head, task, task.pooled(vectors, train.counts), train.batch(np.arange(len(train))))
