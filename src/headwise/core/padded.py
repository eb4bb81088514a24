"""A batch as one rectangle with a mask, as other runtimes want it: the same modules compute it, padding and all.

Only for tracing a model into a graph; nothing else here is padded outside the attention kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.core.packed import Lengths, Packed


class Padded(Lengths):
    """b sequences of width t, real positions first: packed positions are cells, n = b · t.

    It is its own only rectangle, and nothing depends on what the mask holds, so that a trace of it fits every batch.
    """

    def __init__(self, mask: Tensor):
        """mask [b t], true where a position is real"""
        rows, width = mask.shape
        places = torch.arange(width, device=mask.device)  # [t]
        facts = {
            "each": (),
            "device": mask.device,
            "real": mask,  # [b t]
            "keys": mask[:, None, None],  # [b 1 1 t]
            "places": places,
            "starts": torch.arange(rows, device=mask.device) * width,  # [b]
            "positions": places.expand(rows, width).flatten(),  # [n]
            "width": width,
            "rectangles": (self,),
            "cells": None,
            "full": False,
        }
        self.__dict__.update(facts)  # in the place of what Lengths reckons from numbers

    @property
    def firsts(self) -> Padded:
        """The first column alone. [b 1]"""
        return Padded(self.__dict__["real"][:, :1])

    def like(self, others: Lengths) -> Padded:
        """All sequences are padded together."""
        return self

    def padded(self, data: Tensor) -> tuple[Tensor, ...]:
        """[n …] -> one [b t …]"""
        return (self.pad(data),)

    def pad(self, data: Tensor) -> Tensor:
        """[n …] -> [b t …]"""
        return data.view(*self.__dict__["real"].shape, *data.shape[1:])


class Cells(Packed):
    """What stands in the cells of a rectangle, [n …]; padding is left out of means."""

    def means(self) -> Tensor:
        """[b d]"""
        lengths = self.lengths
        assert isinstance(lengths, Padded)
        real = lengths.__dict__["real"][..., None].to(self.data.dtype)  # [b t 1]
        return (lengths.pad(self.data) * real).sum(1) / real.sum(1)
