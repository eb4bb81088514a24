"""A damaged or foreign model directory is refused in one line that says which file and what to do."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from headwise.errors import InputError
from headwise.families import FAMILIES
from headwise.families.checkpoint import read_model

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
Damage = Callable[[Path], object]


def config(**changes) -> Damage:
    """config.json with other values, or without those given as ..."""

    def damage(directory: Path) -> None:
        fields = json.loads((directory / CONFIG).read_text()) | changes
        kept = {key: value for key, value in fields.items() if value is not ...}
        (directory / CONFIG).write_text(json.dumps(kept))

    return damage


def weights(change: Callable[[dict], object]) -> Damage:
    def damage(directory: Path) -> None:
        tensors = load_file(directory / WEIGHTS)
        change(tensors)
        save_file(tensors, directory / WEIGHTS, {"format": "pt"})

    return damage


def contents(name: str, text: str | bytes) -> Damage:
    return lambda directory: (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)


def index(shards: object) -> Damage:
    """An index of shards instead of the weights."""

    def damage(directory: Path) -> None:
        (directory / WEIGHTS).unlink()
        (directory / INDEX).write_text(json.dumps(shards))

    return damage


def pickled(name: str) -> Damage:
    return lambda directory: (directory / WEIGHTS).rename(directory / name)


def truncated(name: str, to: int) -> Damage:
    return lambda directory: contents(name, (directory / name).read_bytes()[:to])(directory)


DENSE = "bert.encoder.layer.1.output.dense.weight"
BAD: dict[str, tuple[Damage, list[str]]] = {
    "a weight is missing": (
        weights(lambda tensors: tensors.pop(DENSE)),
        [f"weight {DENSE} is missing (1 in all)", "fetch the model again"],
    ),
    "the classifier is missing": (
        weights(lambda tensors: [tensors.pop("classifier.weight"), tensors.pop("classifier.bias")]),
        ["weight classifier.weight is missing (2 in all)", "fetch the model again"],
    ),
    "a weight is surplus": (
        weights(lambda tensors: tensors.update({"bert.extra.weight": torch.ones(2)})),
        ["surplus weight bert.extra.weight", "no model of this family"],
    ),
    "a layer is surplus": (config(num_hidden_layers=3), ["surplus weight bert.encoder.layer.3."]),
    "a layer is missing": (config(num_hidden_layers=5), ["bert.encoder.layer.4.", "is missing (16 in all)"]),
    "a weight has another shape": (
        weights(lambda tensors: tensors.update({DENSE: torch.ones(48, 32)})),
        [DENSE, "has shape [48, 32], config.json makes it [32, 48]", "do not belong together"],
    ),
    "a weight is no number": (weights(lambda tensors: tensors[DENSE][3].fill_(math.nan)), [DENSE, "holds NaN"]),
    "a weight is endless": (weights(lambda tensors: tensors[DENSE][0].fill_(-math.inf)), [DENSE, "infinity", "again"]),
    "a width no memory has": (
        config(hidden_size=2**20, intermediate_size=2**31 - 1),  # 8 PiB a layer, more than any processor can name
        ["the model that config.json describes is too large for the memory here"],
    ),
    "a table no number of bytes has": (
        config(hidden_size=2**30, vocab_size=2**31 - 1, intermediate_size=2**31 - 1),
        ["the model that config.json describes is too large for the memory here"],
    ),
    "the last layer has another size": (
        config(id2label={"0": "a", "1": "b"}),
        ["classifier.", "config.json makes it [2", "do not belong together"],
    ),
    "another kind of model": (config(model_type="gpt2"), [CONFIG, "model_type 'gpt2'", *FAMILIES]),
    "no kind of model": (config(model_type=...), [CONFIG, "model_type None", *FAMILIES]),
    "no width": (config(hidden_size=...), [CONFIG, "'hidden_size' is missing"]),
    "a width in words": (config(hidden_size="wide"), [CONFIG]),
    "relative places": (
        config(position_embedding_type="relative_key"),
        [CONFIG, "position_embedding_type is 'relative_key'", "'absolute'"],
    ),
    "an unknown activation": (config(hidden_act="snake"), [CONFIG, "hidden_act is 'snake'", "gelu, gelu_new"]),
    "labels without numbers": (config(id2label={"good": "bad"}), [CONFIG]),
    "config.json is missing": (lambda directory: (directory / CONFIG).unlink(), ["no config.json", "model directory"]),
    "config.json is cut off": (truncated(CONFIG, 100), [CONFIG, "not valid JSON", "fetch the file again"]),
    "config.json is a list": (contents(CONFIG, "[]"), [CONFIG, "not an object", "fetch the file again"]),
    "config.json is no text": (contents(CONFIG, b"\xff\xfe\x00"), [CONFIG, "not valid JSON", "fetch the file again"]),
    "weights in a pickle": (
        pickled("pytorch_model.bin"),
        ["pytorch_model.bin", "a pickle can run code", "safe_serialization=True"],
    ),
    "weights in another pickle": (pickled("model.ckpt"), ["model.ckpt", "never read", "safetensors"]),
    "no weights": (lambda directory: (directory / WEIGHTS).unlink(), [f"no {WEIGHTS}", "model directory"]),
    "weights cut off": (truncated(WEIGHTS, 5000), [WEIGHTS, "not a readable safetensors file", "fetch it again"]),
    "weights empty": (truncated(WEIGHTS, 0), [WEIGHTS, "not a readable safetensors file", "fetch it again"]),
    "weights a web page": (contents(WEIGHTS, "<!doctype html>" * 99), [WEIGHTS, "not a readable", "fetch it again"]),
    "a shard is missing": (
        index({"weight_map": {"classifier.weight": "model-00001-of-00002.safetensors"}}),
        ["model-00001-of-00002.safetensors: missing", INDEX, "fetch the model again"],
    ),
    "a shard lies elsewhere": (
        index({"weight_map": {"classifier.weight": "../x"}}),
        [INDEX, "outside its folder", "do not trust"],
    ),
    "a shard lies elsewhere on Windows": (
        index({"weight_map": {"classifier.weight": "C:\\x"}}),
        [INDEX, "outside its folder", "do not trust"],
    ),
    "an index of nothing": (index([]), [INDEX, "not a valid index", "fetch it again"]),
    "an index of numbers": (index({"weight_map": {"a": 5}}), [INDEX, "not a valid index", "fetch it again"]),
    "an index of folders": (index({"weight_map": {"a": "."}}), ["not a readable", "fetch it again"]),
}


@pytest.fixture(scope="module")
def sound(tiny, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("sound")
    tiny("Bert").save_pretrained(directory)
    return directory


@pytest.mark.parametrize(("damage", "told"), BAD.values(), ids=BAD)
def test_a_bad_directory_is_refused_in_one_line_and_left_as_it_is(damage, told, sound, tmp_path):
    directory = shutil.copytree(sound, tmp_path / "model")
    read_model(directory)
    damage(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(InputError) as refusal:
        read_model(directory)
    message = str(refusal.value)
    assert "\n" not in message and message.startswith(str(directory))
    assert [part for part in told if part not in message] == [], message
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("part", ["encoder.layer.1.output.dense.weight", "embeddings.LayerNorm.bias"])
def test_a_broken_encoder_is_refused_though_the_head_may_be_new(part, sound, tmp_path):
    directory = shutil.copytree(sound, tmp_path / "model")
    weights(lambda tensors: tensors.pop(f"bert.{part}"))(directory)
    with pytest.raises(InputError, match=f"weight bert.{part} is missing"):
        read_model(directory, 2)


def test_the_head_that_is_there_must_fit_even_where_another_may_be_drawn(sound, tmp_path):
    directory = shutil.copytree(sound, tmp_path / "model")
    weights(lambda tensors: tensors.update({"bert.pooler.dense.weight": torch.ones(31, 32)}))(directory)
    with pytest.raises(InputError, match=r"bert\.pooler\.dense\.weight has shape \[31, 32\]"):
        read_model(directory, 2)


@pytest.mark.parametrize("name", ["model.safetensors", "nowhere"])
def test_something_that_is_no_directory_is_refused(name, sound):
    with pytest.raises(InputError, match=f"{name}: no config.json, so not a Hugging Face model directory"):
        read_model(sound / name)


def test_a_modernbert_stretched_by_yarn_is_refused(tiny, tmp_path):
    tiny("ModernBert").save_pretrained(tmp_path)
    stretched = {"full_attention": {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 2.0}}
    config(rope_parameters=stretched)(tmp_path)
    with pytest.raises(InputError, match="rope_type is 'yarn', supported is 'default'"):
        read_model(tmp_path)
