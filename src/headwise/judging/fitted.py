"""What a model owes to held-out rows: how sure it is, when that suffices for an answer, what it is made for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from headwise.errors import InputError, excerpt
from headwise.judging.scope import Scope, energy, scope
from headwise.judging.sections import Column, Findings, Table
from headwise.judging.selective import SURE, Rule, rule

UNSURE, OUT_OF_SCOPE = "unsure", "out of scope"  # why there is no answer


@dataclass(frozen=True)
class Fitted:
    """Without any of it, logits become probabilities as they are, and every text is answered."""

    temperature: float = 1.0  # logits are divided by it
    rule: Rule | None = None
    scope: Scope | None = None

    @property
    def always_answers(self) -> bool:
        """Whether there is nothing that could keep an answer back."""
        return self.rule is None and self.scope is None

    def abstains(self, confidence: np.ndarray, logits: np.ndarray | None = None) -> np.ndarray:
        """Why a row has no answer, or "" where it has one. [rows], [rows labels] -> [rows]"""
        reasons = np.full(len(confidence), "", dtype=object)
        if self.rule is not None:
            reasons[confidence <= self.rule.threshold] = UNSURE
        if self.scope is not None and logits is not None:
            reasons[energy(logits) < self.scope.threshold] = OUT_OF_SCOPE
        return reasons

    def decided(
        self,
        confidence: np.ndarray,
        wrong: np.ndarray,
        most_error: float | None,
        logits: np.ndarray | None = None,
        false_alarms: float | None = None,
    ) -> Fitted:
        """Anew from held-out rows in scope: a scope, and a rule for what lies in it, where these are asked for.

        Raises InputError where nothing can be promised.
        """
        inside = None if logits is None or false_alarms is None else scope(energy(logits), false_alarms)
        found = replace(self, rule=None, scope=inside)
        if most_error is None:
            return found
        kept = found.abstains(confidence, logits) == ""
        return replace(found, rule=rule(confidence[kept], wrong[kept], most_error))

    def __str__(self) -> str:
        """What is promised, a line each."""
        said = []
        if self.rule is not None:
            found = self.rule
            said.append(
                f"answers where the confidence is above {found.threshold:.6f}: {found.answered:,} of {found.rows:,} "
                f"rows, {found.wrong:,} of them wrong, so with {SURE:.0%} certainty at most {found.bound:.2%} are"
            )
        if self.scope is not None:
            found_on = self.scope
            said.append(
                f"calls a text out of scope where the energy is below {found_on.threshold:.4f}, "
                f"found on {found_on.rows:,} rows: {found_on.false_alarms:.2%} false alarms"
            )
        return "\n".join(said)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @staticmethod
    def of(given: Mapping[str, Any]) -> Fitted:
        """The reverse. Raises InputError for what was never fitted."""
        try:
            parts = {"rule": Rule, "scope": Scope}
            made = {name: kind(**given[name]) for name, kind in parts.items() if given.get(name) is not None}
            found = Fitted(float(given.get("temperature", 1.0)), **made)
            numbers = [found.temperature, *(float(part.threshold) for part in made.values())]
        except (TypeError, ValueError):
            numbers = [math.nan]
        if not all(map(math.isfinite, numbers)) or numbers[0] <= 0:
            raise InputError(
                f"settings {excerpt(str(dict(given)))}: expected temperature, rule and scope, as headwise writes them"
            )
        return found


@dataclass(frozen=True)
class Outcome:
    """What became of some of the rows whose truth is known."""

    name: str  # answered, or why not
    rows: int
    share: float  # of all rows
    wrong: float  # share of these rows whose likeliest answer is wrong


def outcomes(reasons: np.ndarray, wrong: np.ndarray) -> list[Outcome]:
    """Of rows [rows]: why there is no answer, "" for those with one, and whether it is wrong, or would be."""
    found = []
    for reason in ("", UNSURE, OUT_OF_SCOPE):
        these = wrong[reasons == reason]
        found.append(
            Outcome(reason or "answered", len(these), len(these) / len(wrong), these.sum() / max(len(these), 1))
        )
    return found


def with_outcomes(findings: Findings, found: list[Outcome], fitted: Fitted) -> Findings:
    """The findings, and what became of the rows."""
    head = (Column("", "label"), Column("rows"), Column("share"), Column("wrong"))
    promised = "" if fitted.rule is None else f"; at most {fitted.rule.most_error:.2%} of them was promised"
    if fitted.scope is not None:
        promised += f"; at most {fitted.scope.false_alarms:.2%} of texts in scope should be called out of it"
    answered = found[0]
    said = (
        f"{answered.rows:,} rows ({answered.share:.1%}) are answered, {answered.wrong:.2%} of them wrongly{promised}."
    )
    table = Table("When to answer", said, head, tuple((one.name, one.rows, one.share, one.wrong) for one in found))
    return replace(
        findings,
        sections=(table, *findings.sections),
        numbers={**findings.numbers, "when_to_answer": [asdict(one) for one in found]},
        said=(*findings.said, f"when to answer: {said}"),
    )
