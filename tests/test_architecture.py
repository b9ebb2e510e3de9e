"""The floors of the package: imports run downwards only, wings are independent, and no modules import in a circle.

Every way to import counts: absolute and relative, ``from heldout import x``, inside functions, under TYPE_CHECKING, and
the paths in registries, which are imported when a method is first used.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

import heldout as ho

SOURCE = Path(ho.__file__).parent

FLOORS = (
    ("_core",),
    ("metrics",),
    ("splitting", "auditing", "reading", "datasets", "tasks"),
    ("pp", "tl", "get", "model"),
    ("pl",),
    ("_report",),
    ("_accessor", "_cli"),
)
"""From the ground to the top. A module may import from its own floor and from those below."""

FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

KNOWN_UPWARD: set[tuple[str, str]] = set()
"""Offenders, (importer, imported). The list may only shrink: an entry that is no longer true fails the test."""

KNOWN_CIRCLES: set[frozenset[str]] = set()
"""Offenders. The list may only shrink: an entry that is no longer true fails the test."""

KNOWN_HOMONYMS: set[str] = set()
"""Names of several classes. The list may only shrink: an entry that is no longer true fails the test."""

PATH = re.compile(r"heldout(\.\w+)+(:\w+)?")


class Import(NamedTuple):
    importer: str
    imported: str


class Package:
    """All modules below a folder, and what they import from each other."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.files = {}
        for file in sorted(folder.rglob("*.py")):
            parts = (name, *file.relative_to(folder).with_suffix("").parts)
            self.files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
        self.imports = [found for module in self.files for found in self._imports_of(module)]

    def _imports_of(self, module: str) -> list[Import]:
        tree = ast.parse(self.files[module].read_text())
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_text(node.value)
        }
        found = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [self._module(alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._base(module, node)
                found += [self._module(f"{base}.{alias.name}") for alias in node.names]
            elif (path := _path(node, constants)) is not None:
                found.append(self._module(path.replace(":", ".")))
        return [Import(module, imported) for imported in dict.fromkeys(found) if imported not in (None, module)]

    def _base(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        is_package = self.files[module].name == "__init__.py"
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def _module(self, name: str) -> str | None:
        """The longest part of a dotted name that is a module here; None for other packages."""
        parts = name.split(".")
        if parts[0] != self.name:
            return None
        return next(path for n in range(len(parts), 0, -1) if (path := ".".join(parts[:n])) in self.files)

    def circles(self) -> set[frozenset[str]]:
        """Sets of modules that import each other, directly or through others (strongly connected components)."""
        following = defaultdict(list)
        for found in self.imports:
            following[found.importer].append(found.imported)
        return _components(list(self.files), following)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _path(node: ast.AST, constants: dict[str, str]) -> str | None:
    """Return a string that is the path of a module or of an object in it; constants are filled into f-strings."""
    if isinstance(node, ast.JoinedStr):
        parts = [
            part.value if isinstance(part, ast.Constant) else constants.get(ast.unparse(part.value), "{}")
            for part in node.values
        ]
        text = "".join(parts)
    elif _is_text(node):
        text = node.value
    else:
        return None
    return text if PATH.fullmatch(text) else None


def _components(nodes: list[str], following: dict[str, list[str]]) -> set[frozenset[str]]:
    """Strongly connected components of two and more nodes (Tarjan's algorithm)."""
    number, low, stack, found = {}, {}, [], set()

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for after in following[node]:
            if after not in number:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], number[after])
        if low[node] == number[node]:
            component = stack[stack.index(node) :]
            del stack[-len(component) :]
            if len(component) > 1:
                found.add(frozenset(component))

    for node in nodes:
        if node not in number:
            visit(node)
    return found


@pytest.fixture(scope="module")
def package() -> Package:
    return Package(SOURCE, "heldout")


def room(module: str) -> str:
    """The part of the house that a module is in; empty for the package itself, which is above all."""
    return module.split(".")[1] if "." in module else ""


def wing(module: str) -> str:
    parts = module.split(".")
    return parts[2] if len(parts) > 2 and parts[1] == "tasks" else ""


def is_wrong(found: Import) -> bool:
    importer, imported = room(found.importer), room(found.imported)
    upward = FLOOR.get(imported, len(FLOORS)) > FLOOR.get(importer, len(FLOORS))
    between_wings = wing(found.imported) and wing(found.importer) and wing(found.importer) != wing(found.imported)
    return bool(upward or between_wings)


def test_every_part_of_the_package_has_a_floor(package):
    assert {room(module) for module in package.files} - {""} == set(FLOOR)


def test_imports_run_downwards_only(package):
    assert {found for found in package.imports if is_wrong(found)} == KNOWN_UPWARD


def test_no_modules_import_in_a_circle(package):
    assert package.circles() == KNOWN_CIRCLES


def homonyms(classes: list[tuple[str, str]]) -> set[str]:
    """Names of several classes, given as (module, name). Wings have parallel rooms, so each may have a ``Task``."""
    places = defaultdict(list)
    for module, name in classes:
        places[name].append(wing(module) or "not a wing")
    several = {name for name, wings in places.items() if len(wings) > 1}
    return {name for name in several if "not a wing" in places[name] or len(set(places[name])) < len(places[name])}


def test_two_classes_never_share_a_name(package):
    classes = [
        (module, node.name)
        for module, file in package.files.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert homonyms(classes) == KNOWN_HOMONYMS


def test_homonyms_are_found():
    tasks = [(f"heldout.tasks.{name}.task", "Task") for name in ("genotype", "forecast")]
    assert homonyms(tasks) == set()
    assert homonyms([*tasks, ("heldout.tasks.forecast.other", "Task")]) == {"Task"}
    assert homonyms([*tasks, ("heldout._core.task", "Task")]) == {"Task"}
    assert homonyms([("heldout.pl._a", "_Panel"), ("heldout.pl._b", "_Panel")]) == {"_Panel"}


def test_every_way_to_import_is_seen(tmp_path):
    files = {
        "__init__.py": "",
        "low.py": "",
        "deep/__init__.py": "",
        "deep/near.py": "",
        "plain.py": "import heldout.low",
        "base.py": "from heldout import low",
        "named.py": "from heldout.low import thing",
        "lazy.py": "def f():\n    from heldout.low import thing",
        "typing_only.py": "if TYPE_CHECKING:\n    from heldout.low import thing",
        "relative.py": "from . import low",
        "deep/above.py": "from ..low import thing",
        "deep/sibling.py": "from .near import thing",
        "text.py": "PATHS = {'x': 'heldout.low:Thing'}",
        "filled.py": "HERE = 'heldout.deep'\nPATHS = {'x': f'{HERE}.near:Thing'}",
        "none.py": "'''See heldout.low.'''\nimport numpy\nfrom heldoutside import low",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    seen = {(found.importer.removeprefix("heldout."), found.imported) for found in Package(tmp_path, "heldout").imports}
    importers = ("plain", "base", "named", "lazy", "typing_only", "relative", "deep.above", "text")
    expected = {(name, "heldout.low") for name in importers}
    assert seen == expected | {("deep.sibling", "heldout.deep.near"), ("filled", "heldout.deep.near")} | {
        ("filled", "heldout.deep")
    }


def test_circles_are_found(tmp_path):
    imports = {"a": "b", "b": "c", "c": "a", "d": "a", "e": "f", "f": "e", "g": "d"}
    for name, imported in imports.items():
        (tmp_path / f"{name}.py").write_text(f"def f():\n    from heldout import {imported}")
    (tmp_path / "__init__.py").write_text("")
    found = Package(tmp_path, "heldout").circles()
    assert found == {frozenset(f"heldout.{name}" for name in names) for names in ("abc", "ef")}


def test_wrong_imports_are_found():
    wrong = [
        ("heldout._core.fits", "heldout.metrics.skill"),
        ("heldout.tasks.genotype.task", "heldout.pp"),
        ("heldout.model", "heldout.pl._roc"),
        ("heldout.tl._predict", "heldout"),
        ("heldout.tasks.genotype.task", "heldout.tasks.forecast.task"),
    ]
    right = [
        ("heldout.metrics.skill", "heldout._core.fits"),
        ("heldout.tl._audit", "heldout.get._audit"),
        ("heldout.tasks.genotype.task", "heldout.tasks.genotype.units"),
        ("heldout.pl._roc", "heldout.tasks.genotype.task"),
        ("heldout", "heldout._accessor"),
    ]
    assert [is_wrong(Import(*pair)) for pair in wrong] == [True] * len(wrong)
    assert [is_wrong(Import(*pair)) for pair in right] == [False] * len(right)
