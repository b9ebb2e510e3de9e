"""The table of an evaluation, which prints as a report: the question, the answer in one sentence, and the scores."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.html import render, rows_of
from heldout._core.leaks import LEAK, TITLE, leak_of
from heldout._core.metric import PRIMARY, metric_of, task_of
from heldout._core.tables import storable
from heldout._core.verdict import FEWEST
from heldout._core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 100
_MOST_BASELINES = 8
_ROLES = {
    "baseline": "",
    "sentinel": "the mean of the forecast for every cell",
    "control": "the judged method with a part replaced",
}
_QUESTIONS = {
    "genotype": "Which {label_key} does a new {unit} have?",
    "forecast": "What do the cells look like at held-out times?",
    "forecast_genes": "How do held-out genes change until the target time?",
    "perturbation": "What do held-out perturbations change?",
}


@storable
class Evaluation(pd.DataFrame):
    """The table of an evaluation, which prints as a report. A selection from it is a plain DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    @classmethod
    def load(cls, table: pd.DataFrame, about: dict[str, Any]) -> Evaluation:
        """Build from the table and from what is known about it; see :func:`about_table`."""
        loaded = cls(table.reset_index(drop=True))
        loaded.attrs["about"] = about
        return loaded

    @property
    def table(self) -> pd.DataFrame:
        """The same table as a plain DataFrame, which prints all rows and columns as pandas does."""
        plain = pd.DataFrame(self, copy=True)
        plain.attrs = {}
        return plain

    @property
    def answer(self) -> str:
        """The verdict in one sentence."""
        return str(self._about["answer"])

    @property
    def summary(self) -> str:
        """The score, its unit and the verdict, in a few sentences."""
        return str(self._about["summary"])

    @property
    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] | None = self.attrs.get("about")
        return about_table(self) if about is None else about

    def __str__(self) -> str:
        about = self._about
        lines = [*_wrapped(f"{TITLE}."), ""] if leak_of(about) else []
        lines += [title(self, about), about["question"], "", *_wrapped(about["answer"]), ""]
        lines += [*_wrapped(about["remark"]), ""] if "remark" in about else []
        for block in blocks(self, about["task"]):
            lines += [*_wrapped(block.heading), *block.lines(), ""]
        lines += [line for note in notes(self, about["task"]) for line in _wrapped(f"Note: {note}.")]
        return "\n".join([*lines, *_wrapped(_more(self, about))])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        about = self._about
        return render(
            "evaluation.html",
            leak=TITLE if leak_of(about) else "",
            title=title(self, about),
            question=about["question"],
            answer=about["answer"],
            remark=about.get("remark", ""),
            blocks=blocks(self, about["task"]),
            notes=notes(self, about["task"]),
            more=_more(self, about),
        )


@storable
class Board(pd.DataFrame):
    """A table of text that prints whole, long cells in several lines. A selection from it is a plain DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __str__(self) -> str:
        lead = [*_wrapped(str(self.attrs[LEAK])), ""] if self.attrs.get(LEAK) else []
        first = [str(self.index.name or ""), *map(str, self.index)]
        side = max(map(len, first))
        room = max((_WIDTH - side) // max(len(self.columns), 1) - 2, 14)
        texts = [[str(name) for name in self.columns], *self.to_numpy(dtype=object).tolist()]
        cells = [[_in_cell(str(text), room) for text in row] for row in texts]
        widths = [max(len(line) for row in cells for line in row[i]) for i in range(len(self.columns))]
        lines = lead
        for name, row in zip(first, cells, strict=True):
            for i in range(max((len(cell) for cell in row), default=1)):
                columns = [(cell[i] if i < len(cell) else "").ljust(w) for cell, w in zip(row, widths, strict=True)]
                lines.append("  ".join([(name if i == 0 else "").ljust(side), *columns]).rstrip())
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, rows = rows_of(self, index=True)
        return render("board.html", lead=str(self.attrs.get(LEAK, "")), head=head, rows=rows)


def about_table(table: pd.DataFrame, **known: Any) -> dict[str, Any]:
    """What a report says about a table: task, question, answer and summary, as JSON values.

    Parameters
    ----------
    table
        Table of an evaluation.
    known
        What is known already; the rest follows from the table. An older file has nothing but the table.
    """
    about = {name: value for name, value in known.items() if value is not None}
    about.setdefault("task", task_of(dict.fromkeys(table["metric"])))
    about.setdefault("key", "")
    task = about["task"]
    question = _QUESTIONS.get(task, "How good are the predictions?")
    about.setdefault("question", question.format(unit=_unit(table, task), label_key=about.get("label_key", "label")))
    if leak_of(about):
        about["answer"] = f"Leaks: {leak_of(about)}"
        about["summary"] = f"{about['answer']} {scores_in_words(table, task)}"
    else:
        about.setdefault("answer", answer(table, task))
    about.setdefault("summary", f"{scores_in_words(table, task)} {about['answer']}")
    return about


def title(table: pd.DataFrame, about: dict[str, Any]) -> str:
    """What was scored, on how many units, and which look at the test set this is."""
    rows = first_level(table)
    partition = str(rows["partition"].iloc[0]) if "partition" in rows else "test"
    look = int(rows["look"].iloc[0]) if "look" in rows else 0
    named = f" of {about['key']!r}" if about["key"] else ""
    looked = f" ({about.get('looked', f'look {look} at this test set')})" if look else ""
    return f"Evaluation{named} on {partition}: {_n_units(rows, about['task'])}{looked}"


def first_level(table: pd.DataFrame) -> pd.DataFrame:
    """Rows at the unit of inference, which is the first level of the table."""
    return pd.DataFrame(table[table["level"] == table["level"].iloc[0]]) if len(table) else pd.DataFrame(table)


def primary_metrics(table: pd.DataFrame, task: str) -> list[str]:
    """Metrics that answer the question; the first metric of the table where none of these is defined."""
    rows = first_level(table)
    defined = rows.loc[(rows["role"] == "model") & rows["estimate"].notna(), "metric"]
    found = [name for name in PRIMARY.get(task, ()) if (defined == name).any()]
    return found or list(dict.fromkeys([*defined, *rows["metric"]]))[:1]


def answer(table: pd.DataFrame, task: str) -> str:
    """The verdict on each judged method, in one sentence."""
    rows = first_level(table)
    judged = dict.fromkeys(rows.loc[rows["role"] == "model", "method"])
    if not judged:
        return "No method was judged."
    names = primary_metrics(table, task)
    sentences = []
    for method in judged:
        chosen = rows[(rows["method"] == method) & (rows["role"] == "model")].set_index("metric")
        sentences.append(_answer_on(method, [(name, chosen.loc[name]) for name in names if name in chosen.index], task))
    return " ".join(sentences)


def _answer_on(method: str, rows: Sequence[tuple[str, pd.Series]], task: str) -> str:
    if all(row["verdict"] == "unidentifiable" for _, row in rows):
        return f"Cannot be decided: {_reason(method, *rows[0], task)}."
    decided = [(metric_of(name).label, row) for name, row in rows if row["verdict"] != "unidentifiable"]
    label, row = decided[0]
    verdict, best = _VERDICTS[row["verdict"]], row["baseline"]
    if len(decided) == 1:
        metric = f"By {label}, " if len(rows) > 1 else ""
        return f"{metric}{method} {verdict} the best baseline, {best}."
    if len({row["verdict"] for _, row in decided}) > 1:
        verdicts = [f"by {label} it {_VERDICTS[row['verdict']]} {row['baseline']}" for label, row in decided]
        return f"{method} is compared with the best baseline: {_listed(verdicts)}."
    if len({row["baseline"] for _, row in decided}) == 1:
        return f"{method} {verdict} the best baseline, {best}, by {_listed([label for label, _ in decided])}."
    names = [f"{row['baseline']} by {label}" for label, row in decided]
    return f"{method} {verdict} the best baseline: {_listed(names)}."


_VERDICTS = {
    "better": "is better than",
    "not better": "is not better than",
    "undecided": "is not shown to be better than",
    "unidentifiable": "cannot be compared with",
    "": "has no verdict against",
}


def _listed(parts: Sequence[str]) -> str:
    """Parts of a sentence with commas and a last "and"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def number(value: float) -> str:
    """A score with three digits, for example ``0.500`` or ``1.00``."""
    return f"{value:#.3g}".removesuffix(".")


def _reason(method: str, metric: str, row: pd.Series, task: str) -> str:
    if not np.isfinite(row["estimate"]):
        return f"{metric_of(metric).label} is not defined for {method}"
    if not row["baseline"]:
        return "no baseline was scored"
    n = int(row["n"])
    few = counted(n, unit_name(str(row["level"]), task))
    if task == "forecast":
        return f"with {few} no result holds beyond this experiment"
    if n < FEWEST:
        return f"with {few} there is no interval; {FEWEST} are needed"
    return f"there is no interval of the difference over {few}"


def scores_in_words(table: pd.DataFrame, task: str) -> str:
    """The scores of the judged methods with their intervals, as a sentence each."""
    rows = first_level(table)
    partition = str(rows["partition"].iloc[0]) if "partition" in rows else "test"
    sentences = []
    for method in dict.fromkeys(rows.loc[rows["role"] == "model", "method"]):
        parts = []
        for name in primary_metrics(table, task):
            row = rows[(rows["method"] == method) & (rows["metric"] == name)].iloc[0]
            span = f" ({_span(row, table, task)})" if np.isfinite(row["ci_low"]) else ""
            parts.append(f"{metric_of(name).label} {number(row['estimate'])}{span}")
        sentences.append(f"{method} on {partition}: {', '.join(parts)} over {_n_units(rows, task)}.")
    return " ".join(sentences)


def _span(row: pd.Series, table: pd.DataFrame, task: str) -> str:
    kind = "range over seeds" if task == "forecast" and _is_range(row) else "95 % interval"
    return f"{kind} {number(row['ci_low'])} to {number(row['ci_high'])}"


def _is_range(row: pd.Series) -> bool:
    """Whether the ends are those of fits with several seeds, because target times are too few for an interval."""
    return bool(row["n"] < FEWEST)


@dataclass(frozen=True)
class Block:
    """The scores of one metric: a heading and (method, score, interval, what it is) for each row."""

    heading: str
    rows: list[tuple[str, str, str, str]]

    def lines(self) -> list[str]:
        """Lines of text, in columns."""
        widths = [max(len(row[i]) for row in self.rows) for i in range(3)]
        return [
            f"  {row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}".rstrip()
            for row in self.rows
        ]


def blocks(table: pd.DataFrame, task: str) -> list[Block]:
    """One block for each metric that answers the question."""
    rows = first_level(table)
    return [
        _block(rows[rows["metric"] == name], name, table, task) for name in primary_metrics(table, task) if len(rows)
    ]


def _block(rows: pd.DataFrame, name: str, table: pd.DataFrame, task: str) -> Block:
    metric = metric_of(name)
    rows = rows.iloc[np.argsort(metric.badness(rows["estimate"].to_numpy()), kind="stable")]
    judged, others = rows[rows["role"] == "model"], rows[rows["role"] != "model"]
    best = set(judged["baseline"]) - {""}
    first = others["method"].isin(best)
    shown = pd.concat([others[first], others[~first]]).head(_MOST_BASELINES)
    lines = [_line(row, "judged", table, task) for _, row in judged.iterrows()]
    for _, row in shown.iterrows():
        what = "best baseline" if row["method"] in best else _ROLES.get(row["role"], str(row["role"]))
        lines.append(_line(row, what, table, task))
    if len(others) > len(shown):
        lines.append((f"and {len(others) - len(shown)} more", "", "", ""))
    ceiling = rows["ceiling"].dropna() if "ceiling" in rows else rows["estimate"].iloc[:0]
    chance = metric.chance
    lines += [("ceiling", number(ceiling.iloc[0]), "", "")] if len(ceiling) else []
    lines += [("chance", number(chance), "", "")] if chance is not None else []
    return Block(f"{metric.label} ({metric.better}). {metric.words}", lines)


def _line(row: pd.Series, what: str, table: pd.DataFrame, task: str) -> tuple[str, str, str, str]:
    if not np.isfinite(row["estimate"]):
        return str(row["method"]), "–", "not defined", what
    span = _span(row, table, task) if np.isfinite(row["ci_low"]) else ""
    return str(row["method"]), number(row["estimate"]), span, what


def notes(table: pd.DataFrame, task: str) -> list[str]:
    """What a reader has to know about the judged methods, each note once."""
    rows = first_level(table)
    shown = primary_metrics(table, task)
    chosen = rows[(rows["role"] == "model") & rows["metric"].isin(shown)]
    found = list(dict.fromkeys(note for note in chosen.get("note", pd.Series(dtype=str)).astype(str) if note))
    absent = [metric_of(name).label for name in PRIMARY.get(task, ()) if name not in shown]
    return [*(f"{label} is not defined here" for label in absent), *found]


def _more(table: pd.DataFrame, about: dict[str, Any]) -> str:
    n_metrics = table["metric"].nunique()
    named = f", {about['key']!r}" if about["key"] else ""
    return (
        f"All {len(table)} rows ({n_metrics} metrics) are in .table. "
        f"heldout.get.leaderboard(adata{named}) shows the methods side by side."
    )


def _unit(table: pd.DataFrame, task: str) -> str:
    return unit_name(str(table["level"].iloc[0]), task) if len(table) else "unit"


def unit_name(level: str, task: str = "") -> str:
    """Noun for the unit of inference, e.g. ``library``, ``target time``, or ``sample_id group``."""
    if task == "forecast":
        return "target time"
    return level if level.isalpha() else f"{level} group"


def _n_units(rows: pd.DataFrame, task: str) -> str:
    n = rows.loc[rows["role"] == "model", "n"]
    return counted(int(n.max()) if n.notna().any() else 0, _unit(rows, task))


def _in_cell(text: str, room: int) -> list[str]:
    """Lines of a cell; a long cell has its verdict in lines of its own."""
    score, bracket, verdict = text.partition(") ")
    if len(text) <= room or not bracket or verdict.startswith("on "):
        return _wrapped(text, room)
    return [*_wrapped(f"{score})", room), *_wrapped(verdict, room)]


def _wrapped(text: str, width: int = _WIDTH) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False) or [""]
