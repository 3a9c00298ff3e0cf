"""Rooms import downward only (the floors of the house; change them here together with the rooms)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import unfooled

FLOORS = [
    {"errors"},
    {"files", "lock", "memory", "registry", "randomness", "workers"},
    {"codecs"},
    {"threats", "losses", "metrics", "distortions", "results", "journal"},
    {"models", "data"},
    {"attacks", "checkpoints", "synthesis"},
    {"objectives", "defenses", "checks"},
    {"evaluation", "calibration"},
    {"reports", "training"},
    {"config"},
    {"attack_files", "export", "gan_training"},
    {"scanning"},
    {"service", "studies", "demo"},
    {"cli"},
]
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
ROOT = Path(unfooled.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def imports(path: Path) -> set[str]:
    """The rooms that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "unfooled" else [f"unfooled.{a.name}" for a in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("unfooled.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    upward = {other for other in imports(path) if other != room and FLOOR[other] >= FLOOR[room]}
    assert not upward, f"{room} (floor {FLOOR[room]}) imports {sorted(upward)}"


def test_reports_know_only_results_and_errors() -> None:
    known = set().union(*(imports(p) for p in (ROOT / "reports").glob("*.py")))
    assert known <= {"results", "errors", "reports"}
