"""Imports point down only: a package may use those listed for it, and no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headwise

ROOT = Path(headwise.__file__).parent
FLOORS = {
    "core": {"core"},
    "families": {"core", "families", "errors"},
    "reading": {"core", "reading", "errors"},
    "judging": {"reading", "judging", "errors"},
    "checking": {"reading", "judging", "checking", "errors"},
    "tasks": {"core", "families", "reading", "judging", "tasks", "errors"},
    "training": {"core", "families", "reading", "judging", "tasks", "training", "knobs", "errors"},
    "insight": {"core", "families", "reading", "judging", "tasks", "training", "insight", "errors"},
    "serving": {"core", "families", "reading", "judging", "tasks", "training", "insight", "golden", "model"}
    | {"serving", "knobs", "errors"},
}


def imported(file: Path) -> Iterator[str]:
    """Every module a file imports, anywhere in it, by its full name."""
    package = ["headwise", *file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_every_package_has_its_floor():
    assert {file.parent.name for file in ROOT.glob("*/__init__.py")} == {*FLOORS}


@pytest.mark.parametrize("package", FLOORS)
def test_a_package_imports_only_what_lies_below_it(package):
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for name in imported(file)
        if name.split(".")[0] == "headwise" and name.split(".")[1] not in FLOORS[package]
    ]
    assert wrong == []


def test_transformers_is_for_tests_only():
    everywhere = ROOT.rglob("*.py")
    assert [file for file in everywhere if any(name.split(".")[0] == "transformers" for name in imported(file))] == []


@pytest.mark.parametrize(
    ("modules", "slow"),
    [
        ("headwise headwise.cli", "torch numpy pyarrow"),
        ("headwise.finetune headwise.serving.server", "sklearn scipy.stats matplotlib pandas huggingface_hub rjieba"),
    ],
    ids=["help", "asking"],
)
def test_what_takes_long_to_import_is_imported_where_it_is_used(modules, slow):
    """In a process of its own: --help is there at once, an answer need not wait for what reports are made with."""
    program = f"import sys, {', '.join(modules.split())}; print(*{{*sys.modules}} & {{*{slow.split()}}})"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_model_is_opened_without_the_compiler_of_pytorch(directory_of):
    """Which takes longer to import than a small model to read."""
    program = (
        "import sys; from pathlib import Path; from headwise.families.checkpoint import read_model; "
        f"read_model(Path({str(directory_of('bert'))!r}), 2); print(*{{*sys.modules}} & {{'sympy', 'torch._dynamo'}})"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"
