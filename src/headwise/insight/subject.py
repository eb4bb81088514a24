"""What is explained, task by task: a model that gives one row of numbers for one input, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from headwise.core.packed import Lengths, Packed
from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError, excerpt, listing
from headwise.insight.explanation import Array, Measure
from headwise.insight.question import Odds, Pieces, Question
from headwise.insight.words import pieces, tagged_pieces
from headwise.reading.tags import OUTSIDE
from headwise.reading.text import Text, TextTokenizer
from headwise.reading.words import singles
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.fill_mask import FillMask
from headwise.tasks.question_answering import QuestionAnswering
from headwise.tasks.regression import Regression
from headwise.tasks.task import Task
from headwise.tasks.text_classification import TextClassification
from headwise.tasks.token_classification import TokenClassification

CANDIDATES = 5  # answers to choose from


class Questioned(HeadedEncoder):
    """A model whose encoder stays as it is, under a head that answers one question about one input. -> [b c]"""

    first_only = False  # a position that is asked about may be any

    def __init__(self, model: HeadedEncoder, head: nn.Module):
        nn.Module.__init__(self)  # there is nothing to draw anew
        self.encoder = model.encoder
        self.head = head  # type: ignore[assignment]  # of another kind than those of checkpoints

    def answers(self, states: Packed) -> Tensor:
        """[n d] -> [b c]"""
        return self.head(states)


@dataclass(frozen=True, eq=False)
class Subject:
    """One number or several of one input, of which one is asked about.

    model: encoder(ids, types, watch, vectors) makes states [n d] of inputs, answers(states) a row [b c] of each.
    labels: what the c numbers are called.
    chances: from rows to what people are told and receipts are measured in. [b c] -> [b c]
    measure: what that is.
    exclusive: whether labels exclude each other, so that odds are what is asked of a row.
    scale: how large a change is that of a probability from 0 to 1; None: the largest that words of the input make.
    about: the word that is asked about, where it is not the whole input.
    """

    model: HeadedEncoder
    labels: tuple[str, ...]
    chances: Callable[[Tensor], Array]
    measure: Measure = "probability"
    exclusive: bool = False
    scale: float | None = 1.0
    about: str = ""

    def towards(self, question: Question) -> Question:
        """What to ask of rows for a question about chances: odds, where labels exclude each other."""
        return Odds(question.label, question.against) if self.exclusive and len(self.labels) > 1 else question


def of_labels(model: HeadedEncoder, task: TextClassification) -> Subject:
    """The label of a text, or each label's own chance where there may be several."""
    return Subject(model, task.labels, task.probabilities, exclusive=not task.multi_label)


def of_number(model: HeadedEncoder, name: str, scale: float | None = None) -> Subject:
    """A text's number. scale: how far apart a low and a high one are."""
    return Subject(model, (name,), lambda rows: rows.numpy(), "number", scale=scale)


class At(nn.Module):
    """A head that answers at every position, read at one."""

    def __init__(self, head: nn.Module, position: int):
        super().__init__()
        self.head, self.position = head, position

    def forward(self, x: Packed) -> Tensor:
        """[n d] -> [b c]"""
        data = x.data[x.lengths.starts + self.position]  # [b d]
        return self.head(Packed(data, Lengths((1,) * len(data))))


def of_tag(model: HeadedEncoder, labels: tuple[str, ...], own: Pieces, word: str | None) -> Subject:
    """The tag of a word, which is read at its first piece; of the surest to be part of something unless one is named.

    Raises InputError for a word that is not in the text.
    """
    firsts = np.array([int(np.argmax(own.word_of == number)) for number in range(len(own.words))])  # [w]
    if word is None:
        model.eval()
        with torch.inference_mode():
            chances = model(*own.packed()).softmax(-1).numpy()  # [t c]
        number = int(chances[firsts][:, np.array(labels) != OUTSIDE].max(1).argmax())
    else:
        found = [number for number, one in enumerate(own.words) if one.text == word]
        if not found:
            raise InputError(f"word {excerpt(word)} is not in the text: {listing([one.text for one in own.words])}")
        number = found[0]
    head, named = At(model.head, int(firsts[number])), own.words[number].text
    return Subject(Questioned(model, head), labels, lambda rows: rows.softmax(-1).numpy(), exclusive=True, about=named)


class Spans(nn.Module):
    """A head for starts and ends: how likely some spans are, among all that begin and end at certain positions."""

    def __init__(self, head: nn.Module, spans: Array, inside: Array):
        super().__init__()
        self.head, self.spans, self.inside = head, torch.from_numpy(spans), torch.from_numpy(inside)

    def forward(self, x: Packed) -> Tensor:
        """[n d] of sequences of one length -> log probabilities [b spans]"""
        ends = self.head(x).view(len(x.lengths.each), -1, 2)  # [b t 2]
        chances = ends.masked_fill(~self.inside[:, None], -torch.inf).log_softmax(1)
        return chances[:, self.spans[:, 0], 0] + chances[:, self.spans[:, 1], 1]


def of_answer(model: HeadedEncoder, own: Pieces, longest: int) -> Subject:
    """The likeliest answers in the context, the second text of a pair; by their words, at most so many tokens long."""
    model.eval()
    sides = np.array([word.side for word in own.words] + [-1])[own.word_of]  # [t]
    inside = sides == 1
    if not inside.any():
        raise InputError("the context holds nothing that the model's tokenizer knows; give another")
    with torch.inference_mode():
        starts, ends = model(*own.packed()).masked_fill(~torch.from_numpy(inside)[:, None], -torch.inf).T
    near = torch.ones(len(starts), len(starts), dtype=torch.bool).triu().tril(longest - 1)
    sums = (starts[:, None] + ends).masked_fill(~near, -torch.inf)  # [t t]
    found: dict[str, tuple[int, int]] = {}
    for at in sums.flatten().argsort(descending=True)[:200].tolist():
        start, end = divmod(at, len(inside))
        if len(found) < CANDIDATES and inside[start] and inside[end]:
            first, last = own.words[own.word_of[start]], own.words[own.word_of[end]]
            found.setdefault(own.text[1][first.start : last.end], (start, end))
    spans = np.array(list(found.values()))
    return Subject(Questioned(model, Spans(model.head, spans, inside)), tuple(found), lambda rows: rows.exp().numpy())


class Likeness(nn.Module):
    """How alike a text's vector is to another one: the cosine between them."""

    def __init__(self, head: nn.Module, other: Tensor):
        super().__init__()
        self.head, self.other = head, other

    def forward(self, x: Packed) -> Tensor:
        """[n d] -> [b 1]"""
        return nn.functional.cosine_similarity(self.head(x), self.other)[:, None]


def of_likeness(model: HeadedEncoder, other: Pieces) -> Subject:
    """How alike a text is to another, by the words of the first; the other is taken as it is."""
    model.eval()
    with torch.no_grad():
        vector = model(*other.packed())  # [1 d]
    return Subject(Questioned(model, Likeness(model.head, vector)), ("likeness",), lambda rows: rows.numpy(), "cosine")


def in_place(pieces: Pieces) -> Pieces:
    """The same input, whose words are masked rather than taken out, since positions must not move.

    Raises InputError where the tokenizer has no mask.
    """
    if pieces.mask is None:
        raise InputError("the model's tokenizer has no mask token, so words cannot be taken away where they stand")
    return replace(pieces, stays=True)


def subject_of(
    model: HeadedEncoder, task: Task, tokenizer: TextTokenizer, text: Text, word: str | None
) -> tuple[Subject, Pieces]:
    """What a task's answer to a text or pair is about, and that input in words. word: of tags, the one asked about.

    Raises InputError for what is empty, too long, half a pair, or not there.
    """
    if word is not None and not isinstance(task, TokenClassification):
        raise InputError(f"a word is asked about in models that tag words, this one is for {task.name}; leave it out")
    if isinstance(task, FillMask):
        raise InputError(f"a model of {task.name} gives words, which are not explained; ask it with predict")
    if isinstance(task, QuestionAnswering | FeatureExtraction) and isinstance(text, str):
        second = "context" if isinstance(task, QuestionAnswering) else "text it is compared with"
        raise InputError(f"{task.name} is about two texts, found one; give the {second} with it: --pair")
    if isinstance(task, FeatureExtraction):
        prefixes = task.query_prefix, task.document_prefix
        own, other = (readable(tokenizer, side, prefix) for side, prefix in zip(text, prefixes, strict=True))
        return of_likeness(model, other), own
    own = readable(tokenizer, text)
    if isinstance(task, QuestionAnswering):
        own = in_place(own)
        return of_answer(model, own, task.longest), own
    if isinstance(task, TokenClassification):
        own = in_place(tagged_pieces(tokenizer, singles([text])[0]))
        return of_tag(model, task.labels, own, word), own
    if isinstance(task, TextClassification):
        return of_labels(model, task), own
    assert isinstance(task, Regression)
    return of_number(model, task.labels[0], task.scale), own


def readable(tokenizer: TextTokenizer, text: Text, prefix: str = "") -> Pieces:
    """A text or pair in words, those of the prefix before a single text.

    Raises InputError where there is nothing to read, or more than the model can.
    """
    whole = prefix + text if isinstance(text, str) else text
    if tokenizer.encode([whole]).cut[0]:
        raise InputError(f"the text is longer than the {tokenizer.max_length:,} tokens the model reads; explain a part")
    for number, side in enumerate((text,) if isinstance(text, str) else text, 1):
        if not side.strip():
            which = "the text" if isinstance(text, str) else f"text {number} of the pair"
            raise InputError(f"{which} is empty, so there is nothing to explain; give some words")
    own = pieces(tokenizer, whole)
    if not own.words:
        raise InputError("the text holds no character the model's tokenizer keeps; give some words")
    return own
