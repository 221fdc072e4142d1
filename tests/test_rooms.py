"""The house: rooms import downwards only, and each says what it is and what it offers."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "di2pose_lib"

# Each room and those below it, whose modules it may import; `studies` may import them all.
BELOW = {
    "base": set(),
    "data": {"base"},
    "encoder": {"base", "data"},
    "tokens": {"base", "data"},
    "diffusion": {"base", "data", "encoder", "tokens"},
    "evaluation": {"base", "data", "encoder", "tokens", "diffusion"},
    "figures": {"base"},
}


def imported(path):
    """Modules of this repository that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_these_are_all_the_rooms():
    folders = {path.parent.name for path in (ROOT / LIBRARY).glob("*/*.py")}
    assert folders == set(BELOW)


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_downwards_only(room):
    seen = set()
    for path in (ROOT / LIBRARY / room).rglob("*.py"):
        for name in imported(path):
            package, *rest = name.split(".")
            assert package != "studies", path
            if package == LIBRARY:
                assert rest[0] in BELOW[room] | {room}, f"{path} imports {name}"
                seen.add(rest[0])
    assert seen  # a search that finds nothing holds nothing


@pytest.mark.parametrize("room", BELOW)
def test_a_room_says_what_it_is_and_offers_what_it_says(room):
    module = importlib.import_module(f"{LIBRARY}.{room}")
    assert len(module.__doc__.split()) > 20
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_tests_of_a_room_lie_in_its_folder():
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == {*BELOW, "studies"}
