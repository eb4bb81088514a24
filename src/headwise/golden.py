"""Golden records: answers stored with a model when it is written, which it must give again wherever it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.reading.text import Text, TextTokenizer, json_object
from headwise.tasks.fill_mask import FillMask
from headwise.tasks.question_answering import QuestionAnswering
from headwise.tasks.task import Task
from headwise.training.inference import predicted
from headwise.training.recipe import Precision

GOLDEN = "golden.json"
ROUNDED = 0.02  # what a number may differ where products are computed in bfloat16, as a part of itself above 1
WHOLE = "take a whole copy of the model's directory"
ALONE = 12  # so many of the records are asked one by one, all together
Ask = Callable[[Sequence[Text]], Sequence[dict[str, Any]]]
"""Texts -> the answers of predict."""

SHORT = (
    "Fine.",
    "NOT GOOD",
    "not good",
    "很好。",
    "这家店的服务太差了，再也不来！",
    "👍🏽🎉 so happy 😀",
    "naïve café — “quoted”, 50 % off at 19:30",
    "My parcel still has not arrived; where is it?",
    "从上海飞到 Paris 要多久？",
    "I loved the first half\tand hated\nthe second.",
    "ＷＩＤＥ letters, ﬁne ligatures and a\u200bzero width",
)


def long_text(tokenizer: TextTokenizer) -> str:
    """A text longer than a model reads at once, with other words at its end than at its beginning."""
    count = min(tokenizer.max_length, 512)
    return " ".join(
        [*(f"good {number}" for number in range(count // 2)), *(f"bad 差 {number}" for number in range(count))]
    )


def records(task: Task, tokenizer: TextTokenizer, pairs: bool) -> list[Text]:
    """32 texts or pairs: short, long, empty, emoji, Chinese; with a mask each where masks are filled."""
    singles = [*SHORT, long_text(tokenizer), "", *(f"{text} {number}" for number in range(2) for text in SHORT)][:32]
    if isinstance(task, FillMask):
        mask = "" if tokenizer.mask_id is None else tokenizer.tokenizer.id_to_token(tokenizer.mask_id)
        return [f"{mask} {text}" for text in singles]
    filled = [text or "-" for text in singles]
    if not pairs and not isinstance(task, QuestionAnswering):
        return list(filled if task.apart else singles)
    others = [*filled[3:], *filled[:3]]
    if isinstance(task, QuestionAnswering):  # a question must be short
        return [(SHORT[number % len(SHORT)][:12], text) for number, text in enumerate(others)]
    return list(zip(filled, others, strict=True))


def recorded(task: Task, model: Any, tokenizer: TextTokenizer, pairs: bool) -> dict[str, Any] | None:
    """What is stored with a model: texts and their answers, all asked together; None where it can't be asked them."""
    texts = records(task, tokenizer, pairs)
    try:
        examples = task.examples(tokenizer, texts)
    except InputError:  # such as a model that reads a few tokens only, fewer than these questions have
        return None
    outputs, _ = predicted(model, task, examples)
    return {"bound": model.bound, "texts": texts, "answers": task.told(examples, outputs)}


def read_golden(directory: Path, precision: Precision = "float32") -> dict[str, Any]:
    """The golden records of a model directory, and the bound for a precision; empty where it has none.

    Raises InputError where they are damaged.
    """
    golden = json_object(directory / GOLDEN)
    texts, answers, bound = (golden.get(name) for name in ("texts", "answers", "bound"))
    if not golden:
        return {}
    sound = isinstance(texts, list) and isinstance(answers, list) and isinstance(bound, float)
    if not sound or texts is None or answers is None or bound is None or len(texts) != len(answers):
        raise InputError(f"{directory / GOLDEN}: not as headwise writes it; take a whole copy")
    golden["texts"] = [text if isinstance(text, str) else tuple(text) for text in texts]
    if precision == "bfloat16":
        golden |= {"bound": max(bound, ROUNDED), "advice": "ask it in float32, this model does not bear bfloat16"}
    return golden


def replay(golden: dict[str, Any], ask: Ask) -> list[dict[str, Any]]:
    """Ask all records together, then some one by one. Returns the answers to all together.

    Raises InputError at the first that is answered otherwise.
    """
    texts = golden["texts"]
    found = list(ask(texts))
    compare(golden, found, range(len(texts)))
    for number in range(min(ALONE, len(texts))):
        compare(golden, ask(texts[number : number + 1]), [number])
    return found


def deviation(expected: Sequence[Any], found: Sequence[Any]) -> tuple[int, float]:
    """How many answers are other ones in words, and how far the numbers of the rest differ at most."""
    words, farthest = 0, 0.0
    for one, other in zip(expected, found, strict=True):
        odd = [(before, now) for _, before, now in differences(one, other, 0.0)]
        if all(isinstance(before, float | list) and isinstance(now, float | list) for before, now in odd):
            farthest = max([farthest, *(distance(before, now) for before, now in odd)])
        else:
            words += 1
    return words, farthest


def compare(golden: dict[str, Any], found: Sequence[Any], numbers: Sequence[int]) -> None:
    """Raises InputError at the first of the records of these numbers that is answered otherwise."""
    if len(numbers) != len(found):
        raise InputError(f"{len(numbers)} golden records got {len(found)} answers; the model is not the trained one")
    for number, answer in zip(numbers, found, strict=True):
        for name, before, now in differences(golden["answers"][number], answer, golden["bound"]):
            raise InputError(
                f"golden record {number + 1} is answered otherwise than when the model was trained: {name} is "
                f"{str(now)[:40]}, was {str(before)[:40]}; {golden.get('advice', WHOLE)}"
            )


def differences(one: Any, other: Any, bound: float, name: str = "the answer") -> Iterator[tuple[str, Any, Any]]:
    """Where two answers differ: the name of the part, what was expected, what was found."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], bound, key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other) and numbers(one + other):
        if distance(one, other) > bound:
            yield name, one, other
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for before, now in zip(one, other, strict=True):
            yield from differences(before, now, bound, name)
    elif isinstance(one, float) and isinstance(other, float | int):
        if not distance(one, other) <= bound:
            yield name, one, other
    elif one != other:
        yield name, one, other


def numbers(one: list[Any]) -> bool:
    """Whether a list is one of numbers, such as a vector: they are looked at together."""
    return bool(one) and all(isinstance(each, float) for each in one)


def distance(one: Any, other: Any) -> float:
    """Between two numbers or vectors, as a part of the larger where that is above 1."""
    first, second = ([each] if isinstance(each, float | int) else each for each in (one, other))
    return math.dist(first, second) / max(1.0, math.hypot(*first), math.hypot(*second))
