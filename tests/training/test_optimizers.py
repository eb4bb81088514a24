"""The optimizers and schedules are those of the papers: checked against formulas written out, and against torch."""

from __future__ import annotations

import math

import pytest
import torch
import transformers

from headwise.families.checkpoint import read_model
from headwise.training.optimizers import depth, groups, learning_rate, optimizer, set_learning_rate
from headwise.training.recipe import Recipe


@pytest.fixture
def model(directory_of):
    return read_model(directory_of("bert"), 2).model


def gradients(model, step):
    """Some gradient for every parameter, the same each time."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_adamw_corrects_its_bias_and_lets_norms_and_biases_be(model):
    recipe = Recipe(learning_rate=1e-2, weight_decay=0.1)
    ours = optimizer(model, recipe)
    expected = {name: parameter.detach().double().clone() for name, parameter in model.named_parameters()}
    means, squares = ({name: torch.zeros_like(it) for name, it in expected.items()} for _ in range(2))
    norms = {name for name, part in model.named_modules() if isinstance(part, torch.nn.LayerNorm)}
    plain = {name for name in expected if name.endswith(".bias") or name.rsplit(".", 1)[0] in norms}
    decays = {name: 0.0 if name in plain else 0.1 for name in expected}
    for step in (1, 2, 3):
        gradients(model, step)
        set_learning_rate(ours, 1e-2)
        ours.step()
        for name, parameter in model.named_parameters():
            gradient = parameter.grad.double()
            means[name] = 0.9 * means[name] + 0.1 * gradient
            squares[name] = 0.999 * squares[name] + 0.001 * gradient**2
            mean, square = means[name] / (1 - 0.9**step), squares[name] / (1 - 0.999**step)
            expected[name] -= 1e-2 * (mean / (square.sqrt() + 1e-8) + decays[name] * expected[name])
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.double(), expected[name], atol=1e-6), name
    assert len(norms) == 5 and len(plain) == 24


def test_sgd_with_momentum_is_the_formula(model):
    ours = optimizer(model, Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.8, weight_decay=0.0))
    name, watched = next(iter(model.named_parameters()))
    expected, speed = watched.detach().clone(), 0.0
    for step in (1, 2, 3):
        gradients(model, step)
        set_learning_rate(ours, 0.1)
        ours.step()
        speed = 0.8 * speed + watched.grad
        expected = expected - 0.1 * speed
    assert torch.allclose(watched, expected, atol=1e-6), name


def test_each_block_learns_slower_than_the_one_above_it(model):
    recipe = Recipe(layerwise_decay=0.5, learning_rate=1e-3)
    ours = optimizer(model, recipe)
    set_learning_rate(ours, 1e-3)
    rate_of = {parameter: group["lr"] for group in ours.param_groups for parameter in group["params"]}
    found = {name: rate_of[parameter] for name, parameter in model.named_parameters()}
    assert len(found) == len(rate_of) == len(list(model.parameters()))  # each in one group, and only in one
    expected = {"encoder.embeddings.": 1.25e-4, "encoder.blocks.0.": 2.5e-4, "encoder.blocks.1.": 5e-4, "head.": 1e-3}
    for place, rate in expected.items():
        rates = [value for name, value in found.items() if name.startswith(place)]
        assert rates == pytest.approx([rate] * len(rates))
    assert {depth(name, 2) for name in found} == {0, 1, 2, 3}


def test_only_matrices_decay(model):
    decayed = {
        id(one) for group in groups(model, Recipe(weight_decay=0.1)) if group["weight_decay"] for one in group["params"]
    }
    plain = {id(one) for one in model.parameters() if one.dim() == 1}
    assert decayed == {id(one) for one in model.parameters()} - plain


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        ("linear", transformers.get_linear_schedule_with_warmup),
        ("cosine", transformers.get_cosine_schedule_with_warmup),
        ("constant", None),
    ],
)
def test_schedules_are_those_of_transformers_but_never_waste_the_first_step(schedule, theirs):
    """transformers warms up from 0, so its first step changes nothing; here step i of w has (i + 1)/w of the rate.

    From the end of the warm-up on the two are equal at every step.
    """
    recipe = Recipe(learning_rate=2.0, lr_scheduler_type=schedule, warmup_ratio=0.1)
    ours = [learning_rate(recipe, step, 100) for step in range(100)]
    assert ours[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    if theirs is None:
        assert ours[10:] == [2.0] * 90
        return
    holder = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = theirs(holder, 10, 100)
    expected = []
    for _ in range(100):
        expected.append(holder.param_groups[0]["lr"])
        holder.step()
        schedule.step()
    assert ours[10:] == pytest.approx(expected[10:], abs=1e-12)
    assert ours[:9] == pytest.approx(expected[1:10])  # one step ahead


def test_schedules_at_their_ends():
    def rate(step, steps, **more):
        return learning_rate(Recipe(learning_rate=1.0, **more), step, steps)

    assert rate(0, 1) == 1.0  # a run of one step
    assert rate(0, 5, warmup_ratio=0) == 1.0
    assert rate(4, 5, warmup_ratio=0) == pytest.approx(0.2)
    assert rate(5, 10, warmup_ratio=0, lr_scheduler_type="cosine") == pytest.approx(0.5)
    assert rate(9, 10, warmup_ratio=1) == 1.0
    assert rate(2, 10, warmup_ratio=0, lr_scheduler_type="cosine") == pytest.approx((1 + math.cos(0.2 * math.pi)) / 2)
