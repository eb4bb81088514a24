"""What computes here: versions, processor, kernels, and which extras are installed."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Any

import torch
from packaging.requirements import Requirement

from headwise.core import kernels


def described() -> dict[str, Any]:
    """All of it, as a bug report wants it."""
    return {
        "headwise": version("headwise"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": platform.platform(),
        "processor": str(kernels.of_processor().get("cpu_name", platform.machine())),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": list(kernels.instructions()),
        "kernels": kernels.chosen(),
        "extras": {
            name: missing(name) for name in metadata("headwise").get_all("Provides-Extra") or () if name != "dev"
        },
    }


def missing(extra: str) -> list[str]:
    """What an extra needs and is not installed."""
    wanted = (Requirement(line) for line in requires("headwise") or ())
    needed = [one.name for one in wanted if one.marker is not None and one.marker.evaluate({"extra": extra})]
    return [name for name in needed if not installed(name)]


def installed(name: str) -> bool:
    """Whether a distribution is there."""
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def as_text(told: dict[str, Any]) -> str:
    """Lines for people."""
    lines = [f"headwise {told['headwise']}, Python {told['python']}, torch {told['torch']}, {told['system']}"]
    lines.append(
        f"{told['processor']}, {told['cores']} cores, {told['threads']} threads; {', '.join(told['instructions'])}"
    )
    lines += ["", "kernels (HEADWISE_KERNELS=plain or --kernels plain: everything written out)"]
    lines += [f"  {what:34}{how}" for what, how in told["kernels"].items()]
    lines += ["", "extras (pip install 'headwise[NAME]')"]
    lines += [
        f"  {name:34}{'lacks ' + ', '.join(lacks) if lacks else 'installed'}" for name, lacks in told["extras"].items()
    ]
    return "\n".join(lines)
