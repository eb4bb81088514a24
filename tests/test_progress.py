"""What a person sees while waiting."""

from __future__ import annotations

import io
import re

from rich.console import Console

from headwise.progress import Narrator


def seen(terminal: bool) -> str:
    narrator, written = Narrator(), io.StringIO()
    narrator.console = Console(file=written, force_terminal=terminal, width=80)
    with narrator.wait("TF-IDF [of words]"):
        pass
    with narrator.counting("predicting") as done:
        done(5, 10)
    narrator.say("a note\x1b[31m of [red]what[/red] was guessed")
    return written.getvalue()


def test_waiting_shows_since_when_and_leaves_nothing_behind(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")  # a dumb one shows no progress
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen(True))
    assert "TF-IDF [of words] … 0:00:00" in plain and "5/10" in plain
    assert seen(False) == "a note [31m of [red]what[/red] was guessed\n"
