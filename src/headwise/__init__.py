"""headwise: fine-tune a Transformer on your own data, see inside its self-attention, know how far to trust it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headwise.errors import InputError

if TYPE_CHECKING:
    from headwise.audit import check
    from headwise.core.attention import Watch, attention
    from headwise.finetune import train
    from headwise.model import Model, load

__all__ = ["InputError", "Model", "Watch", "attention", "check", "load", "train"]

_PLACES = {
    "check": "audit",
    "Watch": "core.attention",
    "attention": "core.attention",
    "train": "finetune",
    "Model": "model",
    "load": "model",
}


def __getattr__(name: str) -> Any:
    """What is asked for, imported then: PyTorch alone takes seconds, for which `headwise --help` need not wait."""
    if name not in _PLACES:
        raise AttributeError(f"module 'headwise' has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"headwise.{_PLACES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
