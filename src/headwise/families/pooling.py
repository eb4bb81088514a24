"""One vector of a text as directories of sentence-transformers make it: the mean of all tokens, or the first one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from headwise.errors import InputError

Pool = Literal["mean", "first"]
MODULES, POOLING = "modules.json", "1_Pooling/config.json"
KEYS: Mapping[Pool, str] = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token"}
PREFIX = "pooling_mode_"


def pool_of(directory: Path) -> Pool:
    """The pool of a directory; the mean where it does not say. Raises InputError for a way to a vector that we lack."""
    modules = [one.get("type") for one in read(directory / MODULES, [])]
    unknown = [one for one in modules if str(one).rpartition(".")[2] not in ("Transformer", "Pooling", "Normalize")]
    told = read(directory / POOLING, {})
    modes = [key for key, value in told.items() if key.startswith(PREFIX) and value is True]
    pool = next((pool for pool, key in KEYS.items() if modes == [key]), None)
    if unknown or (modes and pool is None):
        found = f"{MODULES}: {unknown[0]}" if unknown else f"{POOLING}: {', '.join(modes)}"
        raise InputError(
            f"{directory / found}: not supported; vectors are the mean of all tokens, or the first one's, of length 1"
        )
    return pool or "mean"


def files_of(pool: Pool, d_model: int) -> dict[str, Any]:
    """The files by which sentence-transformers makes the same vectors."""
    steps = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    module = "sentence_transformers.models."
    modules = [{"idx": i, "name": str(i), "path": path, "type": module + kind} for i, (path, kind) in enumerate(steps)]
    modes = {key: one == pool for one, key in KEYS.items()}
    return {MODULES: modules, POOLING: {"word_embedding_dimension": d_model, **modes}}


def read(file: Path, usual: Any) -> Any:
    """A JSON file of the usual kind, an object or a list of objects; the usual where there is none."""
    if not file.exists():
        return usual
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if type(found) is not type(usual) or (isinstance(found, list) and not all(type(one) is dict for one in found)):
        raise InputError(f"{file}: not as sentence-transformers writes it; fetch the file again")
    return found
