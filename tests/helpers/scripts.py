"""Load a script of the repository as a module."""

from __future__ import annotations

import ast
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from tests.helpers.paths import ROOT

if TYPE_CHECKING:
    from types import ModuleType


def load(path: str) -> ModuleType:
    """Run a script, for example ``"tutorials/donor_leak.py"``, and return it as a module.

    It can import the scripts beside it, as it can when Python runs it.
    """
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module


def run(code: str, page: ModuleType) -> Any:
    """Run a block in a module; return the value of its last line if that is an expression, as a notebook does."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, page.__name__, "exec"), vars(page))
    return None if last is None else eval(compile(ast.Expression(last.value), page.__name__, "eval"), vars(page))
