"""What a person sees while a job runs: notes, a bar, a line at each evaluation; all on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from headwise.errors import printable
from headwise.training.loop import Evaluation, Step


class Narrator:
    """Tells a person what is going on, or is quiet but for warnings."""

    def __init__(self, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)

    def say(self, *notes: str) -> None:
        """One line each."""
        for note in notes:
            self.console.print(escape(printable(note)))

    def warn(self, note: str) -> None:
        """A line that is told to whoever wants quiet, too."""
        Console(stderr=True, soft_wrap=True, highlight=False).print(escape(printable(f"warning: {note}")))

    @contextlib.contextmanager
    def wait(self, what: str) -> Iterator[None]:
        """Show that something of unknown length goes on, and since when."""
        columns = (SpinnerColumn(), TextColumn("{task.description} …"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            progress.add_task(escape(what), total=None)
            yield

    @contextlib.contextmanager
    def counting(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar of rows; call with how many are done, and of how many."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            bar = progress.add_task(escape(what), total=None)
            yield lambda rows, total: progress.update(bar, completed=rows, total=total)

    def bar(self, steps: int, metric: str) -> TrainingBar:
        """A listener that draws the bar of a training run: loss, metric, tokens/s, time left."""
        return TrainingBar(self.console, steps, metric)


class TrainingBar:
    """The bar of one run, and a line for each evaluation."""

    def __init__(self, console: Console, steps: int, metric: str):
        self.steps, self.metric, self.console = steps, metric, console
        self.loss, self.speed, self.best = 0.0, 0.0, "–"
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]} · {task.fields[best]} · {task.fields[speed]} tokens/s ·"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # else an empty line is left
        )
        self.task = self.progress.add_task("", total=steps, loss="–", best="–", speed="–")

    def __call__(self, event: Step | Evaluation) -> None:
        if isinstance(event, Step):
            self.progress.start()
            kept = 0.95 if self.speed else 0.0
            self.loss = kept * self.loss + (1 - kept) * event.loss
            self.speed = kept * self.speed + (1 - kept) * event.tokens / event.seconds
            self.progress.update(
                self.task, completed=event.step, loss=f"{self.loss:.3f}", best=self.best, speed=f"{self.speed:,.0f}"
            )
            return
        score = event.scores[self.metric]
        if event.best:
            self.best = f"{self.metric} {score:.4f}"
        mark = "  best so far" if event.best else ""
        self.console.print(
            f"step {event.step:>6,}/{self.steps:,}   loss {self.loss:.4f}   validation loss {event.loss:.4f}"
            f"   {self.metric} {score:.4f}   {self.speed:,.0f} tokens/s{mark}"
        )
        if event.stop:
            self.close()

    def close(self) -> None:
        """Take the bar away, however the run ended: a terminal left with one shows no cursor."""
        if self.progress.live.is_started:
            self.progress.stop()
