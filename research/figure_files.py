"""Measured figures: their folder and names, and what dates them: commit, date, machine, digests of recipe and code.

A figure is current while both digests are unchanged, comments and docstrings aside (`research.reports.stale`).
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import platform
import subprocess
import tokenize
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

from data_exchange_center.files import write_json
from data_exchange_center.recipes import DEFAULT, RECIPES

ROOT: Final = Path(__file__).resolve().parents[1]
FIGURES: Final = ROOT / "pic" / "figures"
# Code that figures depend on: of the artifacts; of the running server.
OFFLINE: Final = ("data_exchange_center", "offline")
PIPELINE: Final = (*OFFLINE, "offline_to_online", "online")


def named(kind: str, recipe: str) -> str:
    """``kind`` for the default recipe, ``kind_recipe`` for another."""
    return kind if recipe == DEFAULT.name else f"{kind}_{recipe}"


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GB, system and Python, as stated by each measured figure."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    # In clouds the name is often that of a whole family; the numbers tell its models apart.
    numbers = ", ".join(
        f"{part} {facts[key]}" for part, key in (("family", "cpu family"), ("model", "model")) if key in facts
    )
    return {
        "cpu": f"{name} ({numbers})" if numbers else name,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def write_figure(path: Path, content: Mapping[str, Any], code: Iterable[str], *, finished: bool = True) -> None:
    """Write a measurement with the machine, commit, date and digests.

    Args:
        content: with the name of its "recipe", unless that is the default one.
        code: files and folders of the repository that it depends on.
        finished: False for intermediate results, while the command still measures.
    """
    commit = subprocess.run(
        ("git", "rev-parse", "--short=12", "HEAD"), cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.strip()
    age = {"commit": commit, "date": datetime.now(UTC).date().isoformat(), "finished": finished}
    of = {"code": sorted(code), "digest": digest(tuple(sorted(code))), "recipe": recipe_of(content)}
    write_json(path, {**content, "machine": machine(), "measured": {**age, **of}})


def recipe_of(figure: Mapping[str, Any]) -> str | None:
    recipe = RECIPES.get(figure.get("recipe", DEFAULT.name))
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:12] if recipe else None


@cache
def digest(code: tuple[str, ...]) -> str:
    """Digest (12 hex digits) of files, and of Python files in folders, without recipes.py: see `recipe_of`."""
    found = hashlib.sha256()
    for name in code:
        path = ROOT / name
        # Subfolders of the exchange folder hold what steps and services write, Python files of Feast among it
        files = path.glob("*.py") if name == "data_exchange_center" else path.rglob("*.py")
        for file in sorted(files) if path.is_dir() else [path]:
            if file != ROOT / "data_exchange_center" / "recipes.py":
                content = _without_words(file) if file.suffix == ".py" else file.read_bytes()
                found.update(f"{file.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return found.hexdigest()[:12]


@cache
def _without_words(path: Path) -> bytes:
    """A Python file's lines without comments and docstrings: rewording these makes no figure outdated.

    Not `ast.unparse`: what it writes depends on the Python that runs.
    """
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines[first.lineno - 1 : first.end_lineno] = [""] * len(lines[first.lineno - 1 : first.end_lineno])
    return "\n".join(line.rstrip() for line in lines if line.strip()).encode()
