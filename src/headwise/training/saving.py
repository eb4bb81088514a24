"""Saving: checkpoints a run can go on from, and directories that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headwise.errors import InputError
from headwise.families.hub import sha256
from headwise.training.loop import State
from headwise.training.optimizers import learning

MANIFEST = "state.json"
CARD = "headwise.json"  # in a finished model directory
CHECKPOINTS = "checkpoints"  # in a run's directory, until it ends
FACTS = ("step", "best_step", "best_score", "seconds", "losses", "history")
KEPT = 2  # checkpoints on disk: the newest, and one more in case it is damaged


class Unwritable(InputError):
    """A directory that cannot be written to."""


@contextlib.contextmanager
def whole(place: Path) -> Iterator[Path]:
    """A temporary folder beside place; when the block ends well, its files are on disk and it becomes place.

    Where place is there already the folder is made in it, as what is beside it may be another disk. A file of the same
    name is then replaced, one of the model that was there goes, others stay; the files may lie in folders.
    Raises Unwritable where the disk is full or nothing may be written, and leaves place as it was.
    """
    try:
        new = (place if place.is_dir() else place.parent) / f".{secrets.token_hex(6)}"
        new.mkdir(parents=True)
    except OSError as error:
        raise unwritable(place, error) from None
    try:
        yield new
        files = sorted(files_in(new), key=lambda name: name == CARD)  # last: it says all is there
        for name in files:
            (new / name).chmod(new.stat().st_mode & 0o666)  # safetensors makes files that only their owner may read
            synced(new / name)
        synced(new)
        if place.exists():
            before = listed(place)
            for name in files:
                (place / name).parent.mkdir(exist_ok=True)
                os.replace(new / name, place / name)
            for name in before - listed(place) - {*files}:
                (place / name).unlink()
        else:
            os.replace(new, place)
        synced(place.parent)
    except (OSError, SafetensorError) as error:
        raise unwritable(place, error) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def make_folder(place: Path) -> None:
    """Make a folder, and those above it. Raises Unwritable where that cannot be."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(place, error) from None


def unwritable(place: Path, error: Exception) -> Unwritable:
    """What to tell somebody whose disk did not take it."""
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
    if full:
        return Unwritable(f"{place}: the disk is full, nothing was written; free some space or choose another --out")
    return Unwritable(f"{place}: cannot be written ({getattr(error, 'strerror', None) or error}); choose another place")


def synced(path: Path) -> None:
    """Wait until a file or folder is really on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digests(directory: Path) -> dict[str, str]:
    """The sha256 of every file in a folder."""
    return {name: sha256(directory / name) for name in files_in(directory)}


def listed(directory: Path) -> set[str]:
    """The files there that belong to a model, as its card says."""
    try:
        return {*json.loads((directory / CARD).read_text(encoding="utf-8"))["sha256"]} & {*files_in(directory)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def files_in(directory: Path) -> list[str]:
    """The files in a folder and its folders, as their names below it."""
    return sorted(file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file())


def save_checkpoint(directory: Path, state: State, made_for: dict[str, Any]) -> Path:
    """Write the state as directory/step-N, then remove all but the newest few.

    made_for is what must be the same when a run goes on: recipe, data, model.
    """
    place = directory / f"step-{state.step:08d}"
    with whole(place) as new:
        save_file(dict(learning(state.model)), new / "model.safetensors")
        save_file(optimizer_tensors(state.optimizer), new / "optimizer.safetensors")
        if state.best_step != state.step:
            save_file(state.best, new / "best.safetensors")
        facts = {name: getattr(state, name) for name in FACTS}
        manifest = {**facts, "made_for": made_for, "sha256": digests(new)}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for old in sorted(directory.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def newest_checkpoint(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint whose files are what its manifest says, and that manifest."""
    for place in sorted(directory.glob("step-*"), reverse=True):
        try:
            manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
            if all(sha256(place / name) == digest for name, digest in manifest["sha256"].items()):
                return place, manifest
        except (OSError, ValueError, KeyError):
            continue
    return None


def restore(state: State, place: Path, manifest: dict[str, Any]) -> None:
    """Put a state back to what it was when the checkpoint was saved."""
    weights = load_file(place / "model.safetensors")
    state.model.load_state_dict(weights, strict=False)  # those that rest are as they were
    best = "best.safetensors"  # one the manifest does not name is left over from an earlier checkpoint of this step
    state.best = load_file(place / best) if best in manifest["sha256"] else weights
    for name in FACTS:
        setattr(state, name, manifest[name])
    load_optimizer(state.optimizer, load_file(place / "optimizer.safetensors"))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All an optimizer remembers, as 'parameter number.name' -> tensor."""
    remembered = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, kept in remembered.items() for name, tensor in kept.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The reverse of optimizer_tensors."""
    remembered: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        remembered.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": remembered})
