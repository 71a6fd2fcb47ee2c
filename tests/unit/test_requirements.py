"""The lock files: what is in which."""

import ast
from pathlib import Path

from tests.unit.stack.test_compose import pins

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    "requirements.txt",
    "requirements-docs.txt",
    "requirements-mcp.txt",
    "requirements-research.txt",
)
# What the project is built with: a step or the server uses each of them, not the stack or a measurement alone.
PACKAGES = (
    "pandas",
    "torch",
    "flask",
    "redis",
    "elasticsearch",
    "feast",
    "tritonclient",
    "onnx",
    "requests",
)


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_a_step_or_the_server_imports_each_package() -> None:
    core = ("offline", "offline_to_online", "online", "data_exchange_center")
    found = [
        imported(path) for folder in core for path in (ROOT / folder).rglob("*.py")
    ]
    assert {*PACKAGES} - set().union(*found) == set()


def test_a_package_has_one_version_in_all_lock_files() -> None:
    """So that what is added to an environment leaves what is there as it is."""
    whole = pins(ROOT / "requirements-dev.txt")
    for name in LOCKS:
        assert {package: whole[package] for package in pins(ROOT / name)} == pins(
            ROOT / name
        )
