"""Hugging Face model directories, read into our Transformer and written back; no code in them ever runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from headwise.core import spec
from headwise.core.transformer import Encoder, HeadedEncoder, Undrawn, initialise
from headwise.errors import InputError, excerpt
from headwise.families import FAMILIES
from headwise.families.family import Family, Purpose
from headwise.families.pooling import pool_of

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
LEAVES = (".weight", ".bias")
OUT = ("head.out.weight", "head.out.bias")


@dataclass(frozen=True)
class Checkpoint:
    """A model read from a directory, with the configuration it was built from and what there is to say about it."""

    model: HeadedEncoder
    config: Mapping[str, Any]
    purpose: Purpose = "ForSequenceClassification"
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, in the order of the model's outputs."""
        return labels_of(self.config)

    @property
    def max_length(self) -> int:
        """The longest sequence the model was made for, in positions."""
        return self.model.encoder.spec.embeddings.n_positions

    @property
    def vocab_size(self) -> int:
        """How many tokens it has embeddings for."""
        return self.model.encoder.spec.embeddings.vocab_size

    @property
    def n_types(self) -> int:
        """How many types of tokens it tells apart."""
        return self.model.encoder.spec.embeddings.n_types


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in a config's id2label, in order; empty where it has none."""
    names = config.get("id2label") or {}
    if not names and purpose_of(config) not in (None, "Model", "ForMaskedLM"):
        return ("LABEL_0", "LABEL_1")  # transformers leaves its default out
    return tuple(str(names[key]) for key in sorted(names, key=int))


def purpose_of(config: Mapping[str, Any]) -> Purpose | None:
    """What the head of a checkpoint is for; None where it is none of ours."""
    purposes: tuple[Purpose, ...] = get_args(Purpose)
    for name in config.get("architectures") or ():
        for purpose in purposes:
            if str(name).endswith(purpose):
                return purpose
    return None


def read_config(directory: Path) -> dict[str, Any]:
    """config.json as it stands. Raises InputError where there is none or it isn't one."""
    file = directory / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
        names = config.get("id2label") or {}
        if not isinstance(names, dict) or not all(key.isdecimal() for key in names):
            raise InputError(f"{file}: id2label is {excerpt(str(names))}, expected names by number; fetch it again")
        if not isinstance(config.get("architectures") or [], list):
            raise InputError(f"{file}: architectures is no list; fetch it again")
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory}: no config.json, so not a Hugging Face model directory") from None
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); fetch the file again") from None
    return config


def family_of(config: Mapping[str, Any], directory: Path) -> Family:
    """The family config.json names. Raises InputError for one we do not have."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        found = None if name is None else excerpt(str(name))
        raise InputError(f"{directory / 'config.json'}: model_type {found} is not supported, {supported()} are")
    return FAMILIES[name]


def supported() -> str:
    """The families' names, for people."""
    *most, last = FAMILIES
    return f"{', '.join(most)} and {last}"


def read_model(
    directory: Path,
    n_labels: int | None = None,
    purpose: Purpose = "ForSequenceClassification",
    *,
    redraw: bool = False,
    dropout: float | None = None,
    seed: int = 0,
) -> Checkpoint:
    """An encoder with a head for some purpose from a model directory, all weights in float32, in evaluation mode.

    n_labels None: the directory must hold the whole head. Otherwise a last layer of another size, and
    whatever of the head is not there, is drawn anew from the seed and said in the notes; so is the last layer
    with redraw, for labels that mean something else. dropout replaces the config's own everywhere.

    Raises InputError for a family we do not have, and for weights that are missing, surplus, wrongly shaped,
    damaged or pickled.
    """
    config = read_config(directory)
    family, (stack, head) = family_of(config, directory), specs(directory, n_labels, purpose)
    if dropout is not None:
        before = dropout if head.dropout_before else 0.0
        stack, head = stack.with_dropout(dropout), replace(head, dropout=dropout, dropout_before=before)
    try:
        with Undrawn():
            model = HeadedEncoder(stack, head)
    except RuntimeError:  # torch's way to say so
        raise InputError(
            f"{directory}: the model that config.json describes is too large for the memory here"
        ) from None
    names = weight_names(family, model, purpose)
    std = config.get("initializer_range", 0.02)
    initialise(model.head, torch.Generator().manual_seed(seed), std)
    optional = set() if n_labels is None else {name for name in model.state_dict() if name.startswith("head.")}
    fresh, left_out = fill(model, directory, family, names, optional)
    if redraw and OUT[0] in optional and OUT[0] not in fresh:
        initialise(model.head.out, torch.Generator().manual_seed(seed), std)
        fresh += OUT
    notes = []
    if fresh:
        parts = sorted({name.rsplit(".", 1)[0] for name in fresh})
        notes.append(f"drawn anew from seed {seed} (absent, or made for other labels): {', '.join(parts)}")
    if left_out:
        notes.append(f"in the checkpoint, not needed for this task: {', '.join(sorted(left_out))}")
    return Checkpoint(model.eval(), config, purpose, tuple(notes))


def specs(
    directory: Path, n_labels: int | None = None, purpose: Purpose = "ForSequenceClassification"
) -> tuple[spec.Stack, spec.Head]:
    """What config.json describes; the head for its own labels or so many. Raises InputError where it cannot be."""
    config = read_config(directory)
    family = family_of(config, directory)
    try:
        stack = family.stack(config)
        head = family.heads[purpose].spec(config, n_labels or len(labels_of(config)) or 2)
        if purpose == "Model":
            head = replace(head, pool=pool_of(directory))
        refuse_odd(stack)
        refuse_odd(head)
        if not 0 <= config.get("initializer_range", 0.02) < math.inf:
            raise ValueError("initializer_range is below 0 or no number")
    except (KeyError, ValueError) as error:
        found = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{directory / 'config.json'}: {found}") from None
    except (TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        raise InputError(
            f"{directory / 'config.json'}: holds something that describes no model ({error}); fetch it again"
        ) from None
    return stack, head


def refuse_odd(part: Any) -> None:
    """Raise ValueError for a size or a rate, anywhere in a part of a spec, that no model can have."""
    for name, hint in get_type_hints(type(part)).items():
        value, kinds = getattr(part, name), {hint, *get_args(hint)}
        if isinstance(value, tuple):
            for one in dict.fromkeys(value):  # blocks are mostly alike
                refuse_odd(one)
        elif is_dataclass(value):
            refuse_odd(value)
        elif value is not None and kinds & {int, float}:
            low, high = int(int in kinds and name not in ("n_types", "first_position")), 2**31
            if not isinstance(value, int if int in kinds else (int, float)) or not low <= value < high:
                raise ValueError(f"makes {name} {excerpt(str(value))}, which no model has")
            if "dropout" in name and value >= 1:
                raise ValueError(f"makes {name} {value:g}, expected less than 1")


def weight_names(
    family: Family, model: nn.Module, purpose: Purpose = "ForSequenceClassification"
) -> dict[str, tuple[str, ...]]:
    """What each weight is called in a checkpoint with a head -> what it is called here (several: fused, in order)."""
    rows = [(family.prefix + theirs, "encoder.", ours) for theirs, ours in family.encoder.items()]
    rows += [(theirs, "head.", ours) for theirs, ours in family.heads[purpose].names.items()]
    state = model.state_dict().keys()
    layers = [str(i) for i in range(len(model.get_submodule("encoder.blocks")._modules))]
    names = {}
    for theirs, place, ours in rows:
        parts = (ours,) if isinstance(ours, str) else ours
        for layer in layers if "{}" in theirs else [""]:
            for leaf in LEAVES:
                found = tuple(place + part.format(layer) + leaf for part in parts)
                if found[0] in state:
                    names[theirs.format(layer) + leaf] = found
    unnamed = state - {name for found in names.values() for name in found}
    if unnamed:
        raise LookupError(f"the family's table names no {', '.join(sorted(unnamed))}")
    return names


def fill(
    model: nn.Module, directory: Path, family: Family, names: Mapping[str, tuple[str, ...]], optional: set[str]
) -> tuple[list[str], set[str]]:
    """Copy every weight of the directory into the model.

    Returns ours that stay as they were (only such as are optional), and parts of the checkpoint left out.
    """
    state = model.state_dict()
    missing, left_out = dict(names), set()
    others = {theirs + leaf: theirs for head in family.heads.values() for theirs in head.names for leaf in LEAVES}
    with ExitStack() as files:
        stored = open_weights(directory, files)
        bare = not any(name.startswith(family.prefix) for name in stored)
        for stored_name, file in stored.items():
            name = usual_name(stored_name, family.prefix if bare and stored_name not in names else "")
            dropped = next((part for part in family.dropped if name.startswith(part)), None) or others.get(name)
            if name in names:
                tensor = file.get_tensor(stored_name)
                if put(tensor, [state[ours] for ours in names[name]]):
                    del missing[name]
                    if not all(finite(state[ours]) for ours in names[name]):
                        raise InputError(f"{directory}: weight {stored_name} holds NaN or infinity; fetch it again")
                elif names[name][0] not in OUT or not optional:
                    expected = [list(state[ours].shape) for ours in names[name]]
                    raise InputError(
                        f"{directory}: weight {stored_name} has shape {list(tensor.shape)}, config.json makes it "
                        f"{expected[0] if len(expected) == 1 else expected}; the two do not belong together"
                    )
            elif dropped:
                left_out.add(dropped.rstrip("."))
            else:
                raise InputError(f"{directory}: surplus weight {stored_name}, which no model of this family has")
    absent = [name for name in missing if names[name][0] not in optional]
    if absent:
        raise InputError(f"{directory}: weight {absent[0]} is missing ({len(absent)} in all); fetch the model again")
    return [names[name][0] for name in missing], {part for part in left_out if not part.endswith("position_ids")}


def usual_name(name: str, prefix: str) -> str:
    """A weight's name as in a checkpoint with a head; early ones call a norm's weight gamma and its bias beta."""
    return prefix + name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


@torch.no_grad()
def put(tensor: Tensor, places: Sequence[Tensor]) -> bool:
    """Copy a weight, or the parts of a fused one, to where it belongs; false where its shape does not fit."""
    if [sum(place.shape[0] for place in places), *places[0].shape[1:]] != list(tensor.shape):
        return False
    for place, part in zip(places, torch.split(tensor, [place.shape[0] for place in places]), strict=True):
        place.copy_(part)
    return True


def finite(weight: Tensor) -> bool:
    """Whether it holds neither NaN nor infinity, told by its ends in a thirtieth of the time that each number takes."""
    return all(end.isfinite() for end in weight.aminmax())


def open_weights(directory: Path, files: ExitStack) -> dict[str, Any]:
    """Every weight's name -> the open safetensors file that holds it."""
    stored: dict[str, Any] = {}
    for path in weight_files(directory):
        try:
            file = files.enter_context(safe_open(path, "pt"))
        except FileNotFoundError:
            raise InputError(f"{path}: missing, though {INDEX} names it; fetch the model again") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error}); fetch it again") from None
        stored |= dict.fromkeys(file.keys(), file)
    return stored


def weight_files(directory: Path) -> Iterator[Path]:
    """One file, or the shards an index lists."""
    if (directory / ONE_FILE).exists():
        yield directory / ONE_FILE
    elif (directory / INDEX).exists():
        try:
            shards = set(json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
            outside = any("/" in shard or "\\" in shard for shard in shards)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{directory / INDEX}: not a valid index of shards; fetch it again") from None
        if outside:
            raise InputError(f"{directory / INDEX}: names files outside its folder; do not trust this model")
        yield from (directory / shard for shard in sorted(shards))
    elif pickles := [*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.ckpt")]:
        raise InputError(
            f"{pickles[0]}: a pickle can run code when opened, so it is never read; take the model's safetensors "
            "file, or convert it where you trust it: transformers' save_pretrained(..., safe_serialization=True)"
        )
    else:
        raise InputError(f"{directory}: no {ONE_FILE}; expected a Hugging Face model directory")


def write_model(
    directory: Path,
    checkpoint: Checkpoint,
    labels: Sequence[str],
    problem_type: str | None = None,
    max_shard_size: str = "5GB",
) -> dict[str, Any]:
    """Write config.json and the weights so that transformers opens them as its own; returns the config."""
    from huggingface_hub import save_torch_state_dict

    config = write_config(directory, checkpoint, labels, problem_type)
    family = family_of(config, directory)
    state = checkpoint.model.state_dict()
    names = weight_names(family, checkpoint.model, checkpoint.purpose)
    bare = family.prefix if checkpoint.purpose == "Model" else ""
    theirs = {name.removeprefix(bare): torch.cat([state[part] for part in ours]) for name, ours in names.items()}
    save_torch_state_dict(theirs, directory, max_shard_size=max_shard_size)
    return config


def write_config(
    directory: Path, checkpoint: Checkpoint, labels: Sequence[str], problem_type: str | None = None
) -> dict[str, Any]:
    """Write config.json; returns the config.

    problem_type is transformers' word: single_label_classification, multi_label_classification, regression.
    """
    family = family_of(checkpoint.config, directory)
    config = {
        **checkpoint.config,
        "architectures": [family.classes[checkpoint.config["model_type"]] + checkpoint.purpose],
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": problem_type,
        "dtype": "float32",
    }
    absent = [name for name in ("id2label", "label2id", "problem_type") if not config[name]]
    for name in ("torch_dtype", "num_labels", *absent):
        config.pop(name, None)
    (directory / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
    return config


def encoder_of(directory: Path) -> Encoder:
    """The encoder alone, with whatever head stands in the directory left unread."""
    return read_model(directory, 2).model.encoder
