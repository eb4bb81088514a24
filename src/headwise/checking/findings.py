"""What a check says: findings, each with its rows, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headwise.checking.corpus import Corpus
from headwise.errors import excerpt, printable
from headwise.judging.baselines import joined
from headwise.judging.sections import Column, Findings, Table, beginning

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
SHOWN = 3  # places a finding shows in the terminal


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    severity: error: training stops on it, or its scores mislead; warning: it costs accuracy; note: nothing to do.
    words: what was found, in a line; remedy: what to do, empty where nothing is.
    rows: which rows of the corpus; beside: for each the row it is like, or None; about: for each a few words more.
    """

    kind: str
    severity: Severity
    words: str
    remedy: str = ""
    rows: tuple[int, ...] = ()
    beside: tuple[int | None, ...] = ()
    about: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check of a table found, the gravest first, and what was guessed to read it."""

    corpus: Corpus
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def as_text(self) -> str:
        """A verdict for each finding, with a few places and what to do, and a last line that counts them."""
        lines = []
        for found in self.findings:
            lines.append(printable(f"{found.severity:<8} {found.kind}: {found.words}"))
            lines += [f"         {printable(self.place(found, at))}" for at in range(len(found.rows))[:SHOWN]]
            if len(found.rows) > SHOWN:
                lines.append(f"         … and {len(found.rows) - SHOWN:,} more (--json lists all)")
            if found.remedy:
                lines.append(f"         → {printable(found.remedy)}")
        return "\n".join([*lines, self.verdict])

    @property
    def verdict(self) -> str:
        """How many findings there are, of each severity."""
        counts = [(sum(found.severity == one for found in self.findings), one) for one in SEVERITIES]
        said = ", ".join(counted(number, one) for number, one in counts if number) or "nothing found"
        sizes = ", ".join(f"{part.name} {len(part.records):,}" for part in self.corpus.parts)
        return f"{said}, in {counted(len(self.corpus), 'row')} ({sizes})"

    def place(self, found: Finding, at: int) -> str:
        """Where one row of a finding stands, how it begins, and what is special about it."""
        row = found.rows[at]
        words = [f"{self.corpus.where(row)}: {excerpt(joined(self.corpus.texts[row]))}"]
        if found.beside and (beside := found.beside[at]) is not None:
            words.append(f"as in {self.corpus.where(beside)}")
        if found.about:
            words.append(found.about[at])
        return "; ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "rows": {part.name: len(part.records) for part in self.corpus.parts},
            "notes": list(self.notes),
            "findings": [
                {
                    "kind": found.kind,
                    "severity": found.severity,
                    "words": found.words,
                    "remedy": found.remedy,
                    "rows": [self.row_as_dict(found, at) for at in range(len(found.rows))],
                }
                for found in self.findings
            ],
        }

    def row_as_dict(self, found: Finding, at: int) -> dict[str, Any]:
        """One row of a finding."""
        told = self.place_as_dict(found.rows[at])
        if found.beside and (beside := found.beside[at]) is not None:
            told["beside"] = self.place_as_dict(beside)
        if found.about:
            told["about"] = found.about[at]
        return told

    def place_as_dict(self, row: int) -> dict[str, Any]:
        """The split, file and line of a row."""
        part = self.corpus.parts[self.corpus.part_of[row]]
        return {"split": part.name, "file": part.records.path, part.records.unit: int(self.corpus.lines[row])}


def as_findings(checked: Checked) -> Findings:
    """What a report tells of its data: a table, and a word where its scores mislead."""
    rows = [(one.severity, f"{one.kind}: {one.words}", first(checked, one), one.remedy) for one in checked.findings]
    hint = (
        "What `headwise check` finds in these rows without a model, the gravest first."
        if rows
        else ("`headwise check` finds nothing in these rows without a model.")
    )
    head = (
        Column("severity", "label"),
        Column("finding", "text"),
        Column("for example", "text"),
        Column("remedy", "text"),
    )
    told = [{"severity": one.severity, "kind": one.kind, "words": one.words} for one in checked.findings]
    grave = [f"data: {one.kind}: {one.words}" for one in checked.findings if one.severity == "error"]
    table = Table("Data findings", hint, head, tuple(rows))
    return Findings(sections=(table,), numbers={"data_findings": told}, said=tuple(grave))


def first(checked: Checked, found: Finding) -> str:
    """The first of a finding's places."""
    return beginning(checked.place(found, 0)) if found.rows else ""


def counted(number: int, what: str) -> str:
    """'1 row', '2,000 rows'"""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def by_severity(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The gravest first, in their order otherwise."""
    return tuple(sorted(findings, key=lambda found: SEVERITIES.index(found.severity)))
