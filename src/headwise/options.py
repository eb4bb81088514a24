"""What the command line is made of: options from dataclasses, and words that stand for more than themselves."""

from __future__ import annotations

import inspect
import io
import json
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, Optional

import typer

from headwise.errors import InputError, excerpt


def takes(kind: type, panel: str, *left_out: str) -> list[inspect.Parameter]:
    """A parameter of the command line for each field of a dataclass."""
    hints = typing.get_type_hints(kind)

    def parameter(one: Field[Any]) -> inspect.Parameter:
        flag, kinds = one.default is False, {hints[one.name], *typing.get_args(hints[one.name])}
        form = bool if flag else Optional[float if float in kinds else int if int in kinds else str]  # noqa: UP045
        shown = typer.Option(f"--{one.name.replace('_', '-')}", help=one.metadata["help"], rich_help_panel=panel)
        return inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if flag else None,
            annotation=Annotated[form, shown],
        )

    return [parameter(one) for one in fields(kind) if one.name not in left_out]


def options_from(*added: inspect.Parameter) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put these parameters in the place of a command's **options."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        kept = [one for one in own.parameters.values() if one.kind != inspect.Parameter.VAR_KEYWORD]
        command.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in [*kept, *added]}
        return command

    return decorate


def weights(given: str) -> str | dict[str, float]:
    """none, balanced, or weights by label from 'label=weight,…'."""
    if given in ("none", "balanced"):
        return given
    try:
        pairs = [pair.rsplit("=", 1) for pair in given.split(",")]
        return {label.strip(): float(weight) for label, weight in pairs}
    except ValueError:
        raise InputError(f"--class-weights {excerpt(given)}: expected none, balanced or label=weight,…") from None


def typed() -> list[str]:
    """The lines of standard input. Raises InputError where one is empty, as answers have to match, or not UTF-8."""
    try:
        text = sys.stdin.buffer.read().decode() if sys.stdin else ""
        lines = io.StringIO(text, None).read().rstrip().split("\n")
        if empty := next((number for number, line in enumerate(lines, 1) if not line.strip()), 0):
            raise InputError(f"standard input, line {empty}: empty, expected a text; leave the line out")
        return lines
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"standard input, line {line}: not UTF-8; convert it: iconv -f ENCODING -t UTF-8") from None


def in_fields(values: Sequence[Any]) -> list[Any]:
    """A column as a csv can hold it: lists as JSON."""
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value for value in values]


def with_answers(
    columns: Mapping[str, Sequence[Any]], answers: Sequence[Mapping[str, Any]], separator: str | None
) -> dict[str, Sequence[Any]]:
    """A table with its answers in new columns, called predicted_… where it has one of that name.

    separator: between the labels of a text, where a field holds no list; all other lists are JSON there.
    """
    found = dict(columns)
    for name in answers[0] if answers else ():
        new, values = name, [answer[name] for answer in answers]
        while new in found:
            new = f"predicted_{new}"
        if separator is None or not isinstance(values[0], list):
            found[new] = values
        elif "labels" in answers[0]:
            found[new] = [separator.join(map(str, some)) for some in values]
        else:
            found[new] = in_fields(values)
    return found
