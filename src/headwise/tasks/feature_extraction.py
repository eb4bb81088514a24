"""Feature extraction: a text becomes a vector of length 1, near to those of the texts it belongs with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError, excerpt
from headwise.families.family import Purpose
from headwise.families.pooling import files_of
from headwise.judging import ranking, retrieval
from headwise.judging.intervals import Drawn
from headwise.judging.ranking import PlattScaling, RankingScores
from headwise.judging.sections import Findings
from headwise.reading.batches import Batch, Examples
from headwise.reading.columns import Columns
from headwise.reading.records import Records
from headwise.reading.text import Text, Texts, TextTokenizer
from headwise.tasks.task import FEW_DRAWS, Array, Task

SCALE = 20.0  # cosines times this are logits (sentence-transformers' usual one, a temperature of 0.05)
Relation = Literal["pairs", "labels", "scores"]
"""What the rows say of their two texts: that they belong together; whether they do, 1 or 0; how similar they are."""


@dataclass(frozen=True)
class FeatureExtraction(Task):
    """A bi-encoder: both texts of a pair are read by the same model, each by itself (arXiv:1908.10084).

    Truth and answers are those of judging/ranking.py. A row of examples is two sequences, or one where only
    vectors are asked for.
    """

    name: ClassVar[str] = "feature-extraction"
    purpose: ClassVar[Purpose] = "Model"
    needs_label: ClassVar[bool | None] = None
    apart: ClassVar[bool] = True
    compares: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    relation: Relation = "pairs"
    query_prefix: str = ""
    document_prefix: str = ""
    calibration: PlattScaling | None = None

    @classmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """Never: a table of pairs is rather one for a classifier; whoever wants vectors says so."""
        return False

    @classmethod
    def of_table(
        cls, records: Records, columns: Columns, separator: str | None = None, known: Sequence[str] = ()
    ) -> FeatureExtraction:
        """Pairs, or pairs with 1 and 0, or with scores, by what the label column holds."""
        if columns.pair is None:
            raise InputError(
                f"{records.path}: {cls.name} learns from pairs of texts that belong together, found one column of "
                f"text, {columns.text}; name the second with --pair-column"
            )
        if columns.label is None:
            return cls()
        values = values_of(records, columns.label)
        if len(np.unique(values)) == 1 and values[0] != 1:
            raise InputError(
                f"{records.path}: column {columns.label} is {values[0]:g} in every row, which tells nothing apart; "
                "choose another with --label-column"
            )
        if (values == 1).all():
            return cls()  # a column that says so of every row says no more than none
        return cls(relation="labels" if np.isin(values, (0, 1)).all() else "scores")

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> FeatureExtraction:
        """config.json says nothing of it."""
        return cls()

    @property
    def metrics(self) -> Mapping[str, str]:
        """By what the rows say of their texts."""
        return ranking.METRICS[self.relation]

    @property
    def metric(self) -> str:
        """MRR@10, average precision or Spearman."""
        return next(iter(self.metrics))

    @property
    def kind(self) -> str:
        """A few words about it for the notes."""
        said = {
            "pairs": "every row is two texts that belong together",
            "labels": "the label says whether two texts belong together, 1, or not, 0",
            "scores": "the label says how similar two texts are",
        }
        return said[self.relation]

    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """[b 3] Raises InputError where the label is not what it was in training."""
        assert columns.pair is not None
        if columns.label is None and self.relation != "pairs":
            raise InputError(
                f"{records.path}: no column with {self.relation}, which the model was trained on; "
                "name it with --label-column"
            )
        values: Array = np.ones(len(records)) if columns.label is None else values_of(records, columns.label)
        odd = self.relation != "scores" and ~np.isin(values, (0, 1))
        if np.any(odd):
            row = int(np.argmax(odd))
            raise InputError(
                f"{records.where(row)}: {columns.label} is {values[row]:g}, expected 1 or 0 as in training: whether "
                "the two texts belong together"
            )
        first, second = (ranking.numbers(records.table[name].to_pylist()) for name in (columns.text, columns.pair))
        return np.stack([values, first, second], axis=1)

    def strata(self, truth: Array) -> Array:
        """1 and 0 in the same shares; scores anyhow."""
        return super().strata(truth) if self.relation == "scores" else truth[:, 0].astype(str)

    def kin(self, texts: Texts) -> tuple[pa.ChunkedArray, str]:
        """First texts, where they have right and wrong partners: what was learned of some would help to find others."""
        return super().kin(texts) if self.relation == "scores" else (texts.first, ", no first text in two parts")

    def prefixed(self, query: str, document: str) -> FeatureExtraction:
        """With words put before every first, and every second text."""
        return replace(self, query_prefix=query, document_prefix=document)

    @property
    def settings(self) -> dict[str, Any]:
        """All but the labels, which there are none of."""
        kept = asdict(self)
        del kept["labels"]
        return kept

    def restored(self, settings: Mapping[str, Any]) -> FeatureExtraction:
        """The reverse of settings. Raises InputError for what is none of them."""
        if not settings:
            return self  # a directory made by other tools
        found = dict(settings)
        try:
            numbers = found.pop("calibration", None)
            fitted = (
                None if numbers is None else PlattScaling(**{name: float(one) for name, one in dict(numbers).items()})
            )
            if found.get("relation") not in get_args(Relation) or not all(
                isinstance(one, str) for one in found.values()
            ):
                raise ValueError
            return replace(self, calibration=fitted, **found)
        except (TypeError, ValueError):
            raise InputError("settings are not as headwise writes them") from None

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """Pairs as two sequences a row, the first and the second text; single texts, read as first ones, as one.

        Raises InputError for what is neither, or some of each.
        """
        prefixes = self.query_prefix, self.document_prefix
        if all(isinstance(text, str) for text in texts):
            return Examples(tokenizer.encode([prefixes[0] + str(text) for text in texts]))
        for number, pair in enumerate(texts, 1):
            if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
                raise InputError(f"text {number} is {excerpt(str(pair))}, expected a pair of texts, as others are")
        sides = [prefix + side for pair in texts for prefix, side in zip(prefixes, pair, strict=True)]
        return Examples(tokenizer.encode(sides), truth, truth, np.full(len(texts), 2))

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Each row's loss: its two texts should be nearer than others are. outputs [2b d] -> [b]

        Others are, for a row whose texts belong together, its texts with those of the batch's other rows, looked at
        from both sides (InfoNCE: arXiv:1807.03748, arXiv:1705.00652), but for texts that may well be right; and the
        two texts of every row that says of them less (CoSENT: Su 2022, kexue.fm/archives/8847).
        """
        assert batch.targets is not None
        values, first, second = batch.targets.unbind(1)
        vectors = F.normalize(outputs, dim=-1)  # [2b d]
        logits = SCALE * vectors[0::2] @ vectors[1::2].T  # [b b]
        own = logits.diagonal()  # [b]
        less = own.masked_fill(values[None, :] >= values[:, None], -torch.inf)  # [b b]
        if self.relation == "scores":
            return contrasted(own, less)
        right = values > 0
        forth = logits.masked_fill(~strangers(first, second, right), -torch.inf)
        back = logits.T.masked_fill(~strangers(second, first, right), -torch.inf)
        return right * (contrasted(own, less, forth) + contrasted(own, less, back)) / 2

    def vectors(self, outputs: Tensor) -> Array:
        """Of length 1. [k d]"""
        return F.normalize(outputs, dim=-1).numpy()

    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        """Cosines of the pairs, and for each first text the nearest second ones."""
        vectors = self.vectors(outputs)
        return ranking.answered(vectors[0::2], vectors[1::2], examples.truth[:, 1:])

    def scored(self, truth: Array, answers: Array) -> RankingScores:
        """Of the ranking, of the cosine, or of both."""
        return ranking.score(truth, answers, self.relation)

    def drawn(self, truth: Array, *answers: Array) -> tuple[Drawn, ...]:
        """Of rankings by questions, which may have several rows."""
        return tuple(Drawn(ranking.drawn(truth, these, self.relation, FEW_DRAWS)) for these in answers)

    def refuse_other(self, other: Task) -> None:
        """Also where one was trained on what the other was not."""
        super().refuse_other(other)
        if isinstance(other, FeatureExtraction) and other.relation != self.relation:
            raise InputError(
                f"the two models cannot be compared: the first was trained on {self.relation}, the second on "
                f"{other.relation}, so they are scored otherwise"
            )

    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """{"vector"} of a text, {"cosine"} of a pair."""
        vectors = self.vectors(outputs)
        if examples.counts is None:
            return [{"vector": vector} for vector in vectors.tolist()]
        return [{"cosine": cosine} for cosine in (vectors[0::2] * vectors[1::2]).sum(1).tolist()]

    def tuned(self, valid: Examples, outputs: Tensor) -> FeatureExtraction:
        """With the chance that the nearest text is right, where rows say what is right."""
        if self.relation == "scores":
            return self
        vectors = self.vectors(outputs)
        return replace(self, calibration=PlattScaling.of(ranking.duels(vectors[0::2], vectors[1::2], valid.truth)))

    def baselines(
        self, train: Sequence[Text], truth: Array, texts: Sequence[Text], seed: int
    ) -> dict[str, Callable[[], Array]]:
        """The cosine of words, or of characters."""
        return {"TF-IDF": lambda: ranking.tfidf(train, texts)}

    def findings(self, texts: Sequence[Text], examples: Examples, outputs: Tensor) -> Findings:
        """How right and wrong texts keep apart, what the calibration does, and the worst mistakes."""
        vectors, truth = self.vectors(outputs), examples.truth
        if self.relation == "scores":
            return retrieval.similarities(truth[:, 0], (vectors[0::2] * vectors[1::2]).sum(1), texts)
        return retrieval.findings(ranking.duels(vectors[0::2], vectors[1::2], truth), self.calibration, texts)

    def files(self, model: HeadedEncoder, max_length: int) -> dict[str, str]:
        """What sentence-transformers reads, to make the same vectors."""
        prompts = {"query": self.query_prefix, "document": self.document_prefix}
        usual = "query" if self.query_prefix else None
        about = {"prompts": prompts, "default_prompt_name": usual, "similarity_fn_name": "cosine"}
        contents = {
            **files_of("first" if model.head.spec.pool == "first" else "mean", model.encoder.spec.d_model),
            "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
            "config_sentence_transformers.json": about,
        }
        return {name: json.dumps(content, indent=2, ensure_ascii=False) for name, content in contents.items()}


def contrasted(own: Tensor, *others: Tensor) -> Tensor:
    """Cross-entropy of choosing a row's own logit among others, of which -inf is none. [b], [b …] -> [b]"""
    return torch.cat([own[:, None], *others], dim=1).logsumexp(dim=1) - own


def strangers(mine: Tensor, theirs: Tensor, right: Tensor) -> Tensor:
    """Which texts of the other column are surely none of a row's own, by the texts' numbers. [b] -> [b b]

    Not the row's partner, wherever it stands; not the partner of the same text elsewhere; not the text itself.
    """
    partners = (mine[:, None] == mine) & right
    return ~(partners | (theirs[:, None] == theirs) | (mine[:, None] == theirs))


def values_of(records: Records, column: str) -> Array:
    """A column as numbers. [b] Raises InputError at what is none."""
    values = np.empty(len(records))
    for row, text in enumerate(records.table[column].to_pylist()):
        try:
            values[row] = float(text)
        except (TypeError, ValueError):
            values[row] = np.nan
        if not np.isfinite(values[row]):
            raise InputError(
                f"{records.where(row)}: {column} is {excerpt(str(text))}, expected 1 or 0 (the texts belong together "
                "or not), or a number (how similar they are); mend it, or name another column with --label-column"
            )
    return values
