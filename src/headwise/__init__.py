"""headwise: fine-tune a Transformer on your own data, see inside its self-attention, know how far to trust it."""

from headwise.audit import check
from headwise.core.attention import Watch, attention
from headwise.errors import InputError
from headwise.finetune import train
from headwise.model import Model, load

__all__ = ["InputError", "Model", "Watch", "attention", "check", "load", "train"]
