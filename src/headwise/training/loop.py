"""The training loop, as a generator: it trains, says what happened, and leaves the rest to whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headwise.core.packed import Packed
from headwise.core.transformer import HeadedEncoder
from headwise.reading.batches import Examples, Rows, by_length, packed, passes, shuffled
from headwise.reading.text import Tokens
from headwise.tasks.text_classification import TextClassification
from headwise.training.optimizers import learning_rate, set_learning_rate
from headwise.training.recipe import Precision, Recipe


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
    best_score: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict)  # the weights of best_step
    seconds: float = 0.0  # in steps and evaluations
    losses: list[float] = field(default_factory=list)  # of every step so far
    history: list[dict[str, Any]] = field(default_factory=list)  # evaluations so far

    @property
    def stopped(self) -> bool:
        """Whether the last evaluation ended the run."""
        return bool(self.history and self.history[-1]["stop"])


def training(
    state: State, task: TextClassification, train: Examples, valid: Examples, recipe: Recipe
) -> Iterator[Step | Evaluation]:
    """Train from where the state is until the recipe ends, and leave the best weights in state.best.

    Everything follows from the state, the data and the recipe: the order of rows from (seed, epoch), dropout
    from (seed, step). So a run that goes on from a checkpoint ends in the same bits as one never interrupted.
    Raises NotFinite.
    """
    steps, every = recipe.steps(len(train)), recipe.evaluate_every(len(train))
    while not state.stopped:
        due = state.step > 0 and (state.step % every == 0 or state.step == steps)
        if due and (not state.history or state.history[-1]["step"] < state.step):
            yield evaluation(state, task, valid, recipe, steps, rows_of_step(state.step - 1, len(train), recipe))
        else:
            yield one_step(state, task, train, recipe, steps)


def evaluation(
    state: State, task: TextClassification, valid: Examples, recipe: Recipe, steps: int, last: Rows
) -> Evaluation:
    """Try the model on the validation rows; keep its weights where it is better than ever before.

    last: the training rows of the step before, which are to blame where the model makes no numbers any more.
    """
    began = time.perf_counter()
    metric = recipe.metric or task.metric
    logits, loss = predicted(state.model, valid.tokens, task, valid.targets, precision=recipe.precision)
    if not np.isfinite(loss):
        raise NotFinite(state.step, last)
    scores = task.score(valid.targets, task.probabilities(logits))
    best = scores.named(metric) > state.best_score
    if best:
        state.best_step, state.best_score = state.step, scores.named(metric)
        state.best = {name: weight.clone() for name, weight in state.model.state_dict().items()}
    waited = sum(entry["step"] > state.best_step for entry in state.history) + (not best)
    stop = state.step == steps or 0 < recipe.patience <= waited
    seen = {name: scores.named(name) for name in dict.fromkeys((metric, "accuracy", "macro_f1"))}
    done = Evaluation(state.step, loss, seen, best, stop)
    state.history.append(asdict(done))
    state.seconds += time.perf_counter() - began
    return done


def one_step(state: State, task: TextClassification, train: Examples, recipe: Recipe, steps: int) -> Step:
    """Forward, backward and update over the rows whose turn it is."""
    began = time.perf_counter()
    rows = rows_of_step(state.step, len(train), recipe)
    rate = learning_rate(recipe, state.step, steps)
    total = float(task.weights(train.targets[rows]).sum())
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed * 1_000_003 + state.step)
        state.model.train()
        for some in passes(rows, train.tokens.lengths, recipe.batch_size):
            losses.append(one_pass(state, task, train, some, total, recipe.precision))
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), recipe.max_grad_norm or float("inf"))
    if not torch.isfinite(norm):
        raise NotFinite(state.step + 1, rows)
    set_learning_rate(state.optimizer, rate)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.losses.append(sum(losses))
    tokens, seconds = int(train.tokens.lengths[rows].sum()), time.perf_counter() - began
    state.seconds += seconds
    return Step(state.step, state.losses[-1], rate, float(norm), tokens, seconds)


def one_pass(
    state: State, task: TextClassification, train: Examples, rows: Rows, total: float, precision: Precision
) -> float:
    """Forward and backward over some of a step's rows; their share of the step's loss, which is a mean over all.

    Because every pass divides by the whole step's weight, cutting a step into more passes changes nothing.
    """
    logits = state.model.head(states_of(state.model, train.tokens, rows, precision))  # [b c]
    losses = task.weighted_loss(logits, torch.from_numpy(train.targets[rows]))  # [b]
    if not torch.isfinite(losses).all():
        raise NotFinite(state.step + 1, rows[~torch.isfinite(losses.detach()).numpy()])
    loss = losses.sum() / total
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def states_of(model: HeadedEncoder, tokens: Tokens, rows: Rows, precision: Precision) -> Packed:
    """What the encoder makes of some rows. [n d]

    In bfloat16 its matrix products take numbers rounded to it, cast once a pass from weights that stay in float32
    (Micikevicius et al. 2018, arXiv:1710.03740); norms and residuals stay in float32.
    """
    ids, types = packed(tokens, rows)
    with torch.autocast(ids.data.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return model.encoder(ids, types)


def rows_of_step(step: int, count: int, recipe: Recipe) -> Rows:
    """The rows of a step, counted from 0; an epoch's last step takes what is left."""
    per_step = recipe.batch_size * recipe.gradient_accumulation_steps
    epoch, place = divmod(step, recipe.steps_per_epoch(count))
    return shuffled(count, recipe.seed, epoch)[place * per_step : (place + 1) * per_step]


@torch.inference_mode()
def predicted(
    model: HeadedEncoder,
    tokens: Tokens,
    task: TextClassification,
    targets: np.ndarray[Any, Any] | None = None,
    done: Callable[[int, int], None] | None = None,
    precision: Precision = "float32",
) -> tuple[Tensor, float]:
    """The logits of every row [b c], and the mean loss where there are targets (else nan).

    done is told after each pass how many rows are done, and of how many.
    """
    model.eval()
    pieces, order, losses = [], by_length(tokens.lengths), 0.0
    for rows in passes(order, tokens.lengths):
        pieces.append(model.head(states_of(model, tokens, rows, precision)))
        if done is not None:
            done(sum(map(len, pieces)), len(tokens))
        if targets is not None:
            losses += float(task.weighted_loss(pieces[-1], torch.from_numpy(targets[rows])).sum())
    logits = torch.cat(pieces)
    total = float("nan") if targets is None else float(task.weights(targets).sum())
    return torch.empty_like(logits).index_copy_(0, torch.from_numpy(order), logits), losses / total


@torch.inference_mode()
def features(model: HeadedEncoder, tokens: Tokens, precision: Precision = "float32") -> np.ndarray[Any, Any]:
    """What the encoder makes of every row: the mean over its positions. [b d]"""
    model.eval()
    order = by_length(tokens.lengths)
    means = torch.cat([states_of(model, tokens, rows, precision).means() for rows in passes(order, tokens.lengths)])
    return torch.empty_like(means).index_copy_(0, torch.from_numpy(order), means).numpy()
