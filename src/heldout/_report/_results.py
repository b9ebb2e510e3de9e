"""The sections on results: evaluations, comparisons, learning curves, sweeps and interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import get, pl
from heldout._core import keys, store
from heldout._core.evaluations import read_evaluation
from heldout._core.fits import read_header
from heldout._core.leaks import TITLE, leak_of
from heldout._core.metric import DRAWN, SHOWN, metric_of
from heldout._core.report import blocks, first_level, notes, primary_metrics, title
from heldout._report._parts import ReportPart, Section, Table, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._report._figures import Figure, Pen

RESULTS = (keys.EVALUATIONS, keys.COMPARISONS, keys.LEARNING_CURVES, keys.SWEEPS, keys.INTERACTIONS)
"""Sections of ``uns["heldout"]`` that are results."""

_LOW = (3.7, 2.4)
"""Width and height in inches of a picture with few rows."""


def chosen_results(adata: AnnData, key: str | Sequence[str] | None) -> dict[str, list[str]]:
    """Names of the results to report, by section.

    Raises
    ------
    ValueError
        If there is no result with this name.
    """
    there = {name: [str(found) for found in store.section(adata, name)] for name in RESULTS}
    if key is None:
        return there
    wanted = [key] if isinstance(key, str) else list(key)
    every = [found for names in there.values() for found in names]
    for name in wanted:
        if name not in every:
            hint = store.suggest(name, every) if every else "Nothing was evaluated yet. Call heldout.tl.evaluate first."
            msg = f"key={name!r} is not an evaluation, a comparison or another result of this AnnData. {hint}"
            raise ValueError(msg)
    return {name: [found for found in names if found in wanted] for name, names in there.items()}


def result_section(adata: AnnData, chosen: dict[str, list[str]], pen: Pen) -> Section:
    """All chosen results, each with its tables and pictures."""
    makers: dict[str, Callable[[AnnData, str, Pen], ReportPart]] = {
        keys.EVALUATIONS: _evaluation,
        keys.COMPARISONS: _comparison,
        keys.LEARNING_CURVES: _learning_curve,
        keys.SWEEPS: _sweep,
        keys.INTERACTIONS: _interactions,
    }
    parts = []
    for section, make in makers.items():
        for key in chosen[section]:
            try:
                parts.append(make(adata, key, pen))
            except ValueError as error:
                parts.append(ReportPart(f"{section.removesuffix('s').replace('_', ' ')} {key!r}", warning=str(error)))
    return Section("results", "Results", parts)


def answers(adata: AnnData, chosen: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Question, answer and leak of each chosen evaluation. An altered evaluation is left to its own part."""
    found = []
    for key in chosen[keys.EVALUATIONS]:
        try:
            about = get.evaluation(adata, key).attrs["about"]
        except ValueError:
            continue
        found.append((str(about["question"]), str(about["answer"]), TITLE if leak_of(about) else ""))
    return found


def _evaluation(adata: AnnData, key: str, pen: Pen) -> ReportPart:
    report = read_evaluation(adata, key)
    about: dict[str, Any] = report.attrs["about"]
    task = about["task"]
    shown = [name for name in SHOWN.get(task, ()) if (report["metric"] == name).any()]
    metrics = list(dict.fromkeys([*primary_metrics(report, task), *shown])) or None
    board = get.leaderboard(adata, key, metrics=metrics)
    tables = [table_of(board, "Every method, the best one first, with 95 % intervals", index=True)]
    if key in store.section(adata, keys.CLAIMS):
        tables.append(_claims(adata, key))
    explained = [block.heading for block in blocks(report, task)]
    return ReportPart(
        title(report, about),
        warning=f"{TITLE}. {leak_of(about)}" if leak_of(about) else "",
        answer=about["answer"],
        question=about["question"],
        text=[
            *([about["summary"]] if about["summary"] != about["answer"] else []),
            *([about["remark"]] if about.get("remark") else []),
            *explained,
            *(f"Note: {note}." for note in notes(report, task)),
        ],
        tables=tables,
        figures=_figures(adata, key, task, report, pen),
        folded=[
            table_of(
                report.table,
                f"All {len(report)} rows of the evaluation",
                call=f"heldout.get.evaluation(adata, {key!r})",
            )
        ],
    )


def _claims(adata: AnnData, key: str) -> Table:
    return table_of(get.claims(adata, key), "What the design supports, by level")


def _figures(adata: AnnData, key: str, task: str, table: pd.DataFrame, pen: Pen) -> list[Figure]:
    """The pictures of a task. Those of single cells need the fit in the AnnData."""
    rows = first_level(table)
    figures = [
        pen.draw(f"Methods by {metric_of(name).label}.", pl.leaderboard, adata, key, metrics=[name], panels=1)
        for name in DRAWN.get(task, ())
        if rows.loc[rows["metric"] == name, "estimate"].notna().any()
    ]
    if key not in store.section(adata, keys.FITS):
        return figures
    fit = read_header(adata, key)
    partition = str(rows["partition"].iloc[0]) if "partition" in rows else "test"
    if task == "genotype":
        where: dict[str, Any] = {"partition": partition}
        figures.append(pen.draw("ROC curves of groups and of cells.", pl.roc, adata, key, **where))
        if len(fit.info.get("classes", ())) == 2:
            figures.append(pen.draw("Prediction of each group, with its cells.", pl.groups, adata, key, **where))
        words = "Predicted classes of the groups."
        figures.append(pen.draw(words, pl.confusion, adata, key, level="group", **where))
    elif task in ("forecast", "forecast_genes"):
        figures.append(pen.draw("Skill over persistence.", pl.skill, adata, key, size=_LOW))
        if task == "forecast":
            figures.append(pen.draw("Predicted and observed cells.", pl.forecast, adata, key))
        else:
            n = min(3, int(rows["n"].max()) if rows["n"].notna().any() else 0)
            genes = "Held-out genes that change most."
            figures.append(pen.draw(genes, pl.trajectories, adata, key, panels=n, n_genes=n, size=(3.7, 2.2 * n)))
    elif task == "perturbation":
        figures.append(pen.draw("Coverage of the intervals of predictions.", pl.coverage, adata, key))
    if len(fit.history):
        panels = 2 if "train_accuracy" in fit.history else 1
        figures.append(pen.draw("Training history.", pl.history, adata, key, panels=panels, size=(3.7, 2.2 * panels)))
    return figures


def _comparison(adata: AnnData, key: str, pen: Pen) -> ReportPart:
    table = get.comparison(adata, key)
    text = []
    if "pooled" in store.section(adata, keys.COMPARISONS)[key]:
        text = list(get.comparison(adata, key, by="pooled")["sentence"])
    figures = [
        pen.draw(
            f"Methods by {metric_of(name).label}, over folds.", pl.leaderboard, adata, key, metrics=[name], panels=1
        )
        for name in ("auc", "loss")
        if (table["metric"] == name).any()
    ]
    if (table["role"] == "model").any() and (table["role"] == "baseline").any():
        figures.append(pen.draw("Best method and best baseline in each fold.", pl.paired, adata, key))
    return ReportPart(
        f"Comparison {key!r} over folds",
        text=text,
        tables=[table_of(get.leaderboard(adata, key), "Every method, the best one first", index=True)],
        figures=figures,
        folded=[table_of(table, "All rows of the comparison", call=f"heldout.get.comparison(adata, {key!r})")],
    )


def _learning_curve(adata: AnnData, key: str, pen: Pen) -> ReportPart:
    changes = get.learning_curve(adata, key, by="change")
    return ReportPart(
        f"Learning curve {key!r}",
        text=list(changes["sentence"]),
        tables=[table_of(get.learning_curve(adata, key), "Scores by the number of train groups")],
        figures=[pen.draw("AUC of held-out groups by the number of train groups.", pl.learning_curve, adata, key)],
    )


def _sweep(adata: AnnData, key: str, pen: Pen) -> ReportPart:
    table = get.sweep(adata, key)
    words = f"{len(table)} configurations were scored on val. The chosen one is marked."
    call = f"heldout.get.sweep(adata, {key!r})"
    return ReportPart(f"Sweep {key!r}", text=[words], tables=[table_of(table, call=call)])


def _interactions(adata: AnnData, key: str, pen: Pen) -> ReportPart:
    measured = get.interactions(adata, key)
    counts = measured["interaction"].astype(str).value_counts().rename_axis("class").reset_index(name="pairs and genes")
    n = int(np.asarray(measured["called"], dtype=bool).sum())
    words = f"{n} of {len(measured)} combinations and genes deviate from the sum of the single changes."
    figure = pen.draw("Measured change against the sum of the single changes.", pl.interactions, adata, key, panels=1)
    return ReportPart(f"Interactions {key!r}", text=[words], tables=[table_of(counts)], figures=[figure])
