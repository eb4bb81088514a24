"""From a model's name to its directory."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from headwise.errors import InputError
from headwise.families import hub
from headwise.families.checkpoint import read_model


def test_a_folder_is_itself(tmp_path):
    assert hub.locate(str(tmp_path)) == tmp_path


@pytest.mark.skipif(find_spec(hub.STARTER_PACKAGE) is None, reason="the starter model's package is not installed")
def test_the_starter_model_needs_no_network():
    model = read_model(hub.locate("minilm"), 2).model
    assert (model.encoder.spec.d_model, len(model.encoder.blocks)) == (384, 6)


def test_a_starter_model_of_other_bytes_is_refused(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    (tmp_path / "__init__.py").write_text("raise RuntimeError('nobody should import this')")
    monkeypatch.setattr(
        hub, "find_spec", lambda name: type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    )
    with pytest.raises(InputError, match="sha256"):
        hub.locate("minilm")


def test_where_its_package_is_absent_the_starter_comes_from_the_hub(tmp_path, monkeypatch):
    asked = []
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or str(tmp_path))
    with pytest.raises(InputError, match="sha256"):
        hub.locate("minilm")
    assert asked == ["sentence-transformers/all-MiniLM-L6-v2"]


@pytest.mark.parametrize("name", ["no/such/folder/here", "./nowhere", "/nowhere", "a b", "~x"])
def test_what_can_be_no_model_is_said_to_be_none(name):
    with pytest.raises(InputError, match="no such model directory"):
        hub.locate(name)


def test_a_hub_that_cannot_be_asked_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="give a model directory") as error:
        hub.locate("nobody/nothing-of-this-name")
    assert "\n" not in str(error.value)
