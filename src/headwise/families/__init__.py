"""Families of checkpoints: how each one's configuration and weights become ours, and go back."""

from __future__ import annotations

from headwise.families import bert, distilbert, electra, modernbert, roberta
from headwise.families.family import Family

FAMILIES: dict[str, Family] = {
    name: module.FAMILY for module in (bert, roberta, distilbert, electra, modernbert) for name in module.FAMILY.classes
}
