"""What a wing adds to its table: the judged methods against each baseline, and a remark for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COLUMNS = (
    "method",
    "baseline",
    "level",
    "metric",
    "difference",
    "difference_low",
    "difference_high",
    "verdict",
)

_ATTRIBUTE, _REMARK = "versus", "remark"


def with_versus(table: pd.DataFrame, rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Attach the differences to each baseline to a table; :func:`take_versus` reads them.

    Parameters
    ----------
    table
        Table of an evaluation. The difference to the best baseline is taken from here.
    rows
        One row for each judged method, baseline and metric, with entries as in ``COLUMNS``.
    """
    best = table.loc[table["verdict"].ne("") & table["baseline"].ne(""), list(COLUMNS)]
    others = pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=list(COLUMNS))
    frame = pd.concat([best.astype(object), others.astype(object)], ignore_index=True)
    frame = frame.drop_duplicates(["method", "baseline", "level", "metric"])
    table.attrs[_ATTRIBUTE] = frame.to_dict("records")
    return table


def take_versus(table: pd.DataFrame) -> pd.DataFrame | None:
    """Return what :func:`with_versus` attached, and detach it; None if nothing was attached."""
    rows = table.attrs.pop(_ATTRIBUTE, None)
    if rows is None:
        return None
    numbers = [name for name in COLUMNS if name.startswith("difference")]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(numbers, float))


def with_remark(table: pd.DataFrame, remark: str) -> pd.DataFrame:
    """Attach sentences to a table, which the report adds to its answer; :func:`take_remark` reads them."""
    table.attrs[_REMARK] = remark
    return table


def take_remark(table: pd.DataFrame) -> str:
    """Return what :func:`with_remark` attached, and detach it; empty if nothing was attached."""
    return str(table.attrs.pop(_REMARK, ""))
