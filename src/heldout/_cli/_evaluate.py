"""Score what the options name: a fit, probabilities in obs, or a file of predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class ScoredInput:
    """What is scored, as the user passed it."""

    key: str | None
    probabilities: str | None
    positive_class: str | None
    predictions: Path | None
    label_key: str | None
    group_key: tuple[str, ...]
    split_key: str
    partition: Literal["test", "val", "train"]
    key_added: str | None

    def check(self, *, baselines: bool) -> None:
        """Refuse options that do not belong to what is scored."""
        kinds = {"--key": self.key, "--probabilities": self.probabilities, "--predictions": self.predictions}
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) > 1:
            msg = f"{' and '.join(given)} were given. Pass one of them."
            raise typer.BadParameter(msg)
        if self.probabilities is not None and self.label_key is None:
            msg = "--probabilities needs --label-key, the column of obs with the true class."
            raise typer.BadParameter(msg)
        if self.probabilities is not None and (baselines or self.partition != "test"):
            msg = "--probabilities does not use --baseline and --partition: the test cells are scored against chance."
            raise typer.BadParameter(msg)
        belonging = (self.label_key, self.group_key, self.positive_class)
        if self.probabilities is None and any(belonging):
            msg = "--label-key, --group-key and --positive-class are for --probabilities; a fit has them in its record."
            raise typer.BadParameter(msg)
        if not given[1:] and self.probabilities is None and self.predictions is None and self.key_added is not None:
            msg = (
                "--key-added is for --probabilities and --predictions; the evaluation of a fit has the name of the fit."
            )
            raise typer.BadParameter(msg)


def score(
    adata: AnnData, scored: ScoredInput, *, baselines: list[str] | None, n_bootstrap: int, seed: int
) -> tuple[dict[str, Any], str, bool]:
    """Return the answer for JSON, the text, and whether the split leaks."""
    from heldout import get, tl

    if scored.probabilities is not None:
        added = scored.key_added or "probabilities"
        table = tl.score_probabilities(
            adata,
            scored.probabilities,
            str(scored.label_key),
            split_key=scored.split_key,
            group_key=list(scored.group_key) or None,
            positive_class=scored.positive_class,
            key_added=added,
        )
        words = get.summary(adata, added)
        return {"key": added, "task": "genotype", "answer": words, "summary": words, "rows": table}, words, False
    options: dict[str, Any] = {"baselines": baselines, "n_bootstrap": n_bootstrap, "rng": seed}
    if scored.predictions is not None:
        report: Any = tl.score_predictions(
            adata,
            scored.predictions,
            split_key=scored.split_key,
            partition=scored.partition,
            key_added=scored.key_added or "predictions",
            **options,
        )
    else:
        report = tl.evaluate(adata, scored.key, partition=scored.partition, **options)
    return _answer(report)


def _answer(report: Any) -> tuple[dict[str, Any], str, bool]:
    from heldout._core.leaks import leak_of

    about, table = report.attrs["about"], report.table
    leak = leak_of(about)
    answer = {
        "key": about["key"],
        "task": about["task"],
        "question": about["question"],
        "answer": report.answer,
        "summary": report.summary,
        "leak": leak or None,
        "look": int(table["look"].max()) if len(table) else 0,
        "verdicts": _verdicts(table),
        "rows": table,
    }
    return answer, str(report), bool(leak)


def _verdicts(table: pd.DataFrame) -> pd.DataFrame:
    judged = table[(table["role"] == "model") & (table["level"] == table["level"].iloc[0])]
    return judged[["method", "metric", "estimate", "ci_low", "ci_high", "verdict", "baseline"]]
