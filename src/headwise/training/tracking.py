"""Telling TensorBoard or Weights & Biases what a run does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.training.loop import Evaluation, Step

Listener = Callable[[Step | Evaluation], None]


def numbers(event: Step | Evaluation) -> dict[str, float]:
    """What there is to plot in an event, under the field's usual names."""
    if isinstance(event, Step):
        return {
            "train/loss": event.loss,
            "train/learning_rate": event.learning_rate,
            "train/grad_norm": event.grad_norm,
            "train/tokens_per_second": event.tokens / event.seconds,
        }
    return {"eval/loss": event.loss, **{f"eval/{name}": value for name, value in event.scores.items()}}


def tensorboard(directory: Path, facts: dict[str, Any]) -> tuple[Listener, Callable[[], None]]:
    """Events for TensorBoard below directory/tensorboard. Raises InputError where the package is absent."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("--report-to tensorboard needs the package: pip install tensorboard") from None
    writer: SummaryWriter | None = None

    def listen(event: Step | Evaluation) -> None:
        nonlocal writer
        if writer is None:  # of a run that goes on, what was told of these steps before is dropped
            writer = SummaryWriter(str(directory / "tensorboard"), purge_step=event.step)
            writer.add_text("recipe", "\n".join(f"- {name}: {value}" for name, value in facts.items()))
        for name, value in numbers(event).items():
            writer.add_scalar(name, value, event.step)

    def close() -> None:
        if writer is not None:
            writer.close()

    return listen, close


def wandb(directory: Path, facts: dict[str, Any]) -> tuple[Listener, Callable[[], None]]:
    """A Weights & Biases run, offline where WANDB_MODE=offline. Raises InputError where the package is absent."""
    try:
        import wandb as client
    except ImportError:
        raise InputError("--report-to wandb needs the package: pip install wandb") from None
    directory.mkdir(parents=True, exist_ok=True)
    run = client.init(project="headwise", dir=str(directory), config=facts)

    def listen(event: Step | Evaluation) -> None:
        run.log(numbers(event), step=event.step)

    return listen, run.finish


TRACKERS = {"tensorboard": tensorboard, "wandb": wandb}


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise InputError for a tracker we do not know."""
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"--report-to {name}: expected {' or '.join(TRACKERS)}")


@contextmanager
def trackers(names: Sequence[str], directory: Path, facts: dict[str, Any]) -> Iterator[list[Listener]]:
    """Listeners for a run's events, closed however the block ends. Raises InputError where one of them fails."""
    with ExitStack() as stack:
        yield [opened(name, directory, facts, stack) for name in dict.fromkeys(names)]


def opened(name: str, directory: Path, facts: dict[str, Any], stack: ExitStack) -> Listener:
    """A tracker's listener; the stack closes it."""
    with blamed(name):
        tell, close = TRACKERS[name](directory, facts)

    def listen(event: Step | Evaluation) -> None:
        with blamed(name):
            tell(event)

    stack.callback(blamed(name)(close))
    return listen


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """What goes wrong in a tracker, whose errors are its own, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
        raise InputError(f"--report-to {name} failed ({reason}); mend that, or leave the option out") from None
