"""Whether everything is computed as it is written: HEADWISE_KERNELS=plain."""

from __future__ import annotations

import os
from functools import cache
from typing import Literal, get_args

Kernels = Literal["auto", "plain"]
VARIABLE = "HEADWISE_KERNELS"


@cache
def plain() -> bool:
    """Whether all is to be computed as it is written, the slow way. Decided once in a process.

    Raises ValueError where HEADWISE_KERNELS is neither auto nor plain.
    """
    found = os.environ.get(VARIABLE, "auto")
    if found not in get_args(Kernels):
        raise ValueError(f"{VARIABLE} is {found!r}, expected {' or '.join(get_args(Kernels))}")
    return found == "plain"
