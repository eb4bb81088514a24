"""Spread: what another seed would have given, from runs that differ in nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from headwise.judging.sections import Column, Findings, Table


@dataclass(frozen=True)
class SeedRun:
    """One run. Scores are those on the rows the report is about."""

    seed: int
    validation: float  # what the weights were chosen by
    scores: Mapping[str, float]


def with_spread(findings: Findings, runs: Sequence[SeedRun], metrics: Mapping[str, str], kept: int) -> Findings:
    """The findings, and over several runs each metric's mean, standard deviation, lowest and highest."""
    if len(runs) < 2:
        return findings
    values = {said: np.array([run.scores[name] for run in runs]) for name, said in metrics.items()}
    rows = [
        (said, float(each.mean()), float(each.std(ddof=1)), float(each.min()), float(each.max()))
        for said, each in values.items()
    ]
    seeds = ", ".join(str(run.seed) for run in runs)
    hint = f"{len(runs)} runs, seeds {seeds}; the best on the validation rows is kept, seed {kept}."
    head = (Column("", "label"), *map(Column, ("mean", "standard deviation", "lowest", "highest")))
    lines = [f"{said}: mean {mean:.3f}, sd {sd:.3f}, {low:.3f}–{high:.3f}" for said, mean, sd, low, high in rows]
    return replace(
        findings,
        sections=(Table("Over seeds", hint, head, tuple(rows)), *findings.sections),
        numbers={**findings.numbers, "seeds": [asdict(run) for run in runs]},
        said=(*findings.said, "\n".join([f"over seeds: {hint}", *lines])),
    )
