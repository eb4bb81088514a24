"""The one error a user's mistake raises, and how what a user wrote is quoted in it."""

from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what the user gave.

    The message is one line: the file, the line, what was found, what was expected and what to do. The command line
    prints it after `error: ` and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # a path or a reason from elsewhere may hold anything


def printable(text: str) -> str:
    """The text with a space for every line break, control character, direction mark and half of a surrogate pair."""
    return "".join(character if character.isprintable() else " " for character in text)


def excerpt(value: str) -> str:
    """The value in quotation marks, its control characters escaped and at most 40 characters of it."""
    return repr(value if len(value) <= 40 else value[:39] + "…")


def listing(values: Iterable[str]) -> str:
    """The first ten values as excerpts, separated by commas, and how many more there are."""
    quoted = [excerpt(value) for value in values]
    more = f" and {len(quoted) - 10} more" if len(quoted) > 10 else ""
    return ", ".join(quoted[:10]) + more
