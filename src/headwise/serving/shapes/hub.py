"""Requests of huggingface_hub's InferenceClient and @huggingface/inference: a model's own URL, /models/{name}."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.reading.batches import Examples
from headwise.serving.asking import Call
from headwise.serving.models import Served
from headwise.serving.refusals import Refused
from headwise.serving.shapes import fields
from headwise.serving.shapes.outputs import (
    LABELS,
    VECTORS,
    gives_labels,
    gives_vectors,
    labelled,
    normalized,
    prompted,
    scores,
    vectors,
)
from headwise.serving.shapes.tei import cosines
from headwise.tasks.fill_mask import TOP, FillMask
from headwise.tasks.question_answering import QuestionAnswering
from headwise.tasks.text_classification import TextClassification
from headwise.tasks.token_classification import TokenClassification

TEMPLATE = "This example is {}."  # as transformers' pipeline has it
GROUPED = ("simple", "first", "average", "max")


async def pipeline(call: Call) -> Any:
    """POST /models/{model}, or its /pipeline/{task}: the model's own task, or another that it can do."""
    served = call.served(lambda one: True, "")
    return await ANSWERS[call.request.path_params.get("task") or task_of(call.json, served)](call)


def task_of(body: dict[str, Any], served: Served) -> str:
    """Which task a request is for, by what it holds."""
    parameters, inputs = body.get("parameters"), body.get("inputs")
    if isinstance(parameters, dict) and "candidate_labels" in parameters:
        return "zero-shot-classification"
    if isinstance(inputs, dict) and "source_sentence" in inputs:
        return "sentence-similarity"
    return served.model.task.pipeline


async def text_classification(call: Call) -> Any:
    """Nested: a list of labels for each text, even of one text."""
    body, served = call.json, call.served(gives_labels, LABELS)
    how = fields.parameters(body, "top_k", "function_to_apply", "truncation")
    top, function = fields.whole(how, "top_k"), fields.word(how, "function_to_apply", "softmax", "sigmoid", "none")
    texts = fields.items(body.get("inputs"), "inputs")
    return await call.ask(
        served,
        texts,
        lambda _, outputs: [labelled(served, row, top) for row in scores(served, outputs, function)],
        truncate=fields.flag(how, "truncation", False),
    )


async def token_classification(call: Call) -> Any:
    """Entities; those of one text flat."""
    body, served = call.json, call.served(lambda one: isinstance(one.model.task, TokenClassification), "of tags")
    how = fields.parameters(body, "aggregation_strategy")
    fields.word(how, "aggregation_strategy", *GROUPED)  # tags are of words, so that all group them alike
    task = served.model.task

    def tell(examples: Examples, outputs: Tensor) -> list[list[dict[str, Any]]]:
        return [[entity(one) for one in found["entities"]] for found in task.told(examples, outputs)]

    given = body.get("inputs")
    found = await call.ask(served, fields.texts([given] if isinstance(given, str) else given, "inputs"), tell)
    return found[0] if isinstance(given, str) else found


def entity(one: dict[str, Any]) -> dict[str, Any]:
    """An entity under the names of transformers' pipeline."""
    return {"entity_group": one["label"], "word": one["text"], **{key: one[key] for key in ("score", "start", "end")}}


async def question_answering(call: Call) -> Any:
    """The answer to one question."""
    body, served = call.json, call.served(lambda one: isinstance(one.model.task, QuestionAnswering), "of questions")
    how, given = fields.parameters(body, "top_k"), body.get("inputs")
    if fields.whole(how, "top_k") not in (None, 1):
        raise fields.wrong("top_k", "1, a question gets its best answer")
    if not isinstance(given, dict):
        raise fields.wrong("inputs", "an object with question and context")
    pair = fields.text(given, "question"), fields.text(given, "context")
    return (await call.ask(served, [pair], served.model.task.told))[0]


async def fill_mask(call: Call) -> Any:
    """The likeliest words for a mask; of several masks a list each."""
    body, served = call.json, call.served(lambda one: isinstance(one.model.task, FillMask), "of masked words")
    top = fields.whole(fields.parameters(body, "top_k"), "top_k") or TOP
    if top > TOP:
        raise fields.wrong("top_k", f"{TOP} at most")
    text = fields.text(body, "inputs")

    def tell(_: Examples, outputs: Tensor) -> list[list[dict[str, Any]]]:
        tokenizer = served.model.tokenizer
        mask = tokenizer.tokenizer.id_to_token(tokenizer.mask_id or 0) or ""
        pieces, (numbers, best) = text.split(mask), (half.tolist() for half in outputs.chunk(2, 1))  # [m TOP] each
        found = []
        for place, (scores_here, tokens) in enumerate(zip(numbers, best, strict=True)):
            ids = [int(one) for one in tokens[:top]]
            words = [tokenizer.tokenizer.decode([one], skip_special_tokens=False).strip() for one in ids]
            found.append(
                [
                    {"score": score, "token": one, "token_str": word, "sequence": filled(pieces, place, word, mask)}
                    for score, one, word in zip(scores_here[:top], ids, words, strict=True)
                ]
            )
        return found

    found = await call.ask(served, [text], tell)
    return found[0] if len(found) == 1 else found


def filled(pieces: list[str], place: int, word: str, mask: str) -> str:
    """A text, given as what stands around its masks, with a word for one of them."""
    if place + 1 >= len(pieces):
        return mask.join(pieces)
    return mask.join(pieces[: place + 1]) + word + mask.join(pieces[place + 1 :])


async def feature_extraction(call: Call) -> Any:
    """A vector for each text; the parameters stand at the root."""
    body, served = call.json, call.served(gives_vectors, VECTORS)
    how = fields.parameters(body, "normalize", "truncate", "prompt_name", "truncation_direction") | body
    given = body.get("inputs")
    if fields.word(how, "truncation_direction", "right", "left", "Right", "Left") in ("left", "Left"):
        raise fields.wrong("truncation_direction", "right, texts are cut at their end")
    normalize = normalized(served, how)
    return await call.ask(
        served,
        fields.texts([given] if isinstance(given, str) else given, "inputs"),
        lambda _, outputs: vectors(outputs, normalize).tolist(),
        truncate=fields.flag(how, "truncate", False),
        task=prompted(served, fields.word(how, "prompt_name")),
    )


async def sentence_similarity(call: Call) -> Any:
    """The cosine of each sentence with the source."""
    body = call.json
    return await cosines(call, body.get("inputs"), fields.parameters(body))


async def zero_shot(call: Call) -> Any:
    """How well each label fits a text: whether the text entails a sentence with the label (arXiv:1909.00161)."""
    body, served = call.json, call.served(entails, "of pairs that has a label entailment")
    how = fields.parameters(body, "candidate_labels", "hypothesis_template", "multi_label")
    names, template = fields.texts(how.get("candidate_labels"), "candidate_labels"), how.get("hypothesis_template")
    template = TEMPLATE if template is None else template
    if not isinstance(template, str) or template.count("{}") != 1:
        raise fields.wrong("hypothesis_template", "a text with {} in the place of the label")
    several, given = fields.flag(how, "multi_label", False), body.get("inputs")
    texts = fields.texts([given] if isinstance(given, str) else given, "inputs")
    long = sum(map(len, names)) + len(names) * len(template)
    call.refuse_too_much(len(texts) * len(names), sum(map(len, texts)) * len(names) + len(texts) * long)
    pairs: list[Any] = [(text, template.replace("{}", name)) for text in texts for name in names]
    found = await call.ask(served, pairs, lambda _, outputs: fit(served, outputs, len(names), several))
    ranked = [
        [{"label": names[i], "score": float(row[i])} for i in np.argsort(-row, kind="stable").tolist()] for row in found
    ]
    return ranked[0] if isinstance(given, str) or len(ranked) == 1 else ranked


def entails(served: Served) -> bool:
    """A classifier of pairs that was trained to tell entailment."""
    return isinstance(served.model.task, TextClassification) and entailment(served) is not None


def entailment(served: Served) -> int | None:
    """The number of its label for it."""
    names = [name.lower() for name in served.model.labels]
    return next((number for number, name in enumerate(names) if name.startswith("entail")), None)


def fit(served: Served, outputs: Tensor, count: int, several: bool) -> Any:
    """How well each of count labels fits each text: outputs [b·count c] -> [b count]

    One of several fits by the odds of its entailment against those of the others, any number each against
    contradiction, or, where the model has no such label, against all else.
    """
    at = entailment(served)
    assert at is not None
    if not several:
        return outputs[:, at].view(-1, count).softmax(-1).numpy()
    names = [name.lower() for name in served.model.labels]
    against = next((number for number, name in enumerate(names) if name.startswith("contra")), None)
    rest = [number for number in range(len(names)) if number != at] if against is None else [against]
    return torch.sigmoid(outputs[:, at] - outputs[:, rest].logsumexp(-1)).view(-1, count).numpy()


class Answers(dict[str, Any]):
    """By the name of the pipeline."""

    def __missing__(self, name: str) -> Any:
        raise Refused(404, "NotFound", f"there is no task {name[:40]!r} here")


ANSWERS = Answers(
    {
        "text-classification": text_classification,
        "token-classification": token_classification,
        "question-answering": question_answering,
        "fill-mask": fill_mask,
        "feature-extraction": feature_extraction,
        "sentence-similarity": sentence_similarity,
        "zero-shot-classification": zero_shot,
    }
)
