"""Write two pages of the documentation: every slot that heldout writes, and the kinds of arrays that it takes.

    python docs/write_reference.py docs/generated

Slots come from the keys and the docstrings of the package, kinds of arrays from tests/helpers/array_support.py.
tests/test_documented_slots.py checks both against what the functions do.
"""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import sys
from pathlib import Path

import heldout as ho
from heldout._core import keys

SLOT = re.compile(r"``(obs|var|obsm|varm|layers|uns)\[(.+?)\]``")
HEAD = """# Every slot

This page is generated from the keys of the package and from the docstrings, which the tests compare with what each
function writes. [What is stored, and what it proves](../contract.md) explains the format.

Everything in `uns` is in `uns["heldout"]`.
"""


def sections() -> dict[str, str]:
    """Name and meaning of each section of uns["heldout"], from the strings below the constants of ``_core/keys.py``."""
    body = ast.parse(inspect.getsource(keys)).body
    found = {}
    for statement, text in zip(body, body[1:], strict=False):
        if isinstance(statement, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            name = ast.literal_eval(statement.value)
            found[name] = str(text.value.value).split(": ", 1)[-1].strip()
    return {name: meaning for name, meaning in found.items() if name != keys.UNS}


def written(docstring: str) -> list[str]:
    """Slots that a docstring names under *Returns*, in order, each once."""
    returns = re.split(r"\n\s*Returns\n\s*-+\n", docstring)
    if len(returns) < 2:
        return []
    text = re.split(r"\n\s*(?:Raises|Examples|See Also|Notes|References)\n\s*-+\n", returns[1])[0]
    found = ["X"] if re.search(r"^\s*``X``", text, re.MULTILINE) else []
    return list(dict.fromkeys([*found, *(f"{slot}[{name}]" for slot, name in SLOT.findall(text))]))


def functions() -> dict[str, list[str]]:
    """Slots of each function of ``pp`` and ``tl`` that writes any."""
    found = {
        f"{module}.{name}": written(getattr(getattr(ho, module), name).__doc__)
        for module in ("pp", "tl")
        for name in getattr(ho, module).__all__
    }
    return {name: slots for name, slots in found.items() if slots}


def slots() -> str:
    """The page of all slots."""
    writers = functions()
    lines = [HEAD, "## Sections of uns", "", "| Section | Content | Written by |", "|---|---|---|"]
    for name, meaning in sections().items():
        by = [f"`{f}`" for f, slots in writers.items() if any(f'["{name}"]' in s or f'"{name}"' in s for s in slots)]
        lines.append(f"| `{name}` | {meaning} | {', '.join(by)} |")
    lines += ["", "## Functions", ""]
    for name, slots in writers.items():
        lines += [f"{{func}}`heldout.{name}`", f": {', '.join(f'`{slot}`' for slot in slots)}", ""]
    return "\n".join(lines)


ARRAYS = """# Kinds of arrays

| Kind | `X` is |
|---|---|
| dense, csr, csc | an array of NumPy, or a sparse matrix of SciPy, in memory |
| dask | a dask array of such blocks, as `ho.pp.read_libraries` and `anndata.experimental.read_lazy` give |
| backed | in a file that is open: `anndata.read_h5ad(path, backed="r")` |
| MuData | in a modality; the function takes the whole MuData |

The tests call each function with each kind. A function without a mark raises a `TypeError` that says what to do. For a
MuData, pass one modality, for example `mdata["rna"]`. [Out of core](../reading.md#out-of-core) says what is read block
by block.
"""


def arrays() -> str:
    """The page of the kinds of arrays."""
    declared = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "helpers" / "array_support.py"))
    kinds, takes = declared["KINDS"], declared["takes"]
    lines = [ARRAYS, f"| Function | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for module in ("pp", "tl"):
        for name in getattr(ho, module).__all__:
            first = next(iter(inspect.signature(getattr(getattr(ho, module), name)).parameters))
            if first == "adata" and (module, name) not in NOT_TRIED:
                marks = ("✓" if takes(f"{module}.{name}", kind) else "" for kind in kinds)
                lines.append(f"| {{func}}`~heldout.{module}.{name}` | {' | '.join(marks)} |")
    return "\n".join(lines)


NOT_TRIED = {
    ("pp", "subsample"),
    ("pp", "replay"),
    ("tl", "predict_cells"),
    ("tl", "predict_profiles"),
    ("tl", "to_convention"),
    ("tl", "to_counts"),
}
"""Functions that the test of kinds does not call."""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "slots.md").write_text(slots())
    (folder / "arrays.md").write_text(arrays())
