"""Judge predicted perturbations: fit the baselines, score all methods on the same cells, and make the table."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from heldout import metrics
from heldout._core.checks import check_choice, check_integer
from heldout._core.fits import check_split
from heldout._core.method import Fitted
from heldout._core.parents import parents_of
from heldout._core.partition import PARTITIONS
from heldout._core.progress import progress
from heldout._core.rng import generator
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.judging.calibration import COVERAGES, half_widths, seen_targets
from heldout.tasks.perturbation.judging.cells import MOST_CELLS, CellSpace, Scored
from heldout.tasks.perturbation.judging.resampling import drawn_controls, halves
from heldout.tasks.perturbation.judging.scores import N_TOP, Reference, centroids
from heldout.tasks.perturbation.judging.table import Draws, evaluation_table
from heldout.tasks.perturbation.judging.units import Units
from heldout.tasks.perturbation.predictions import Generated, rng_of
from heldout.tasks.perturbation.side_information import embeddings_of
from heldout.tasks.perturbation.start import pretraining_note
from heldout.tasks.perturbation.task import predict, profiles, strata_of, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition
    from heldout._core.rng import Rng
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.observed import Observed
    from heldout.tasks.perturbation.task import Task

logger = logging.getLogger("heldout")

SHIFTED = "shifted controls"
"""What replaces the cells of a generative method: the generated mean with the spread of the controls."""


@dataclass(frozen=True)
class Judged:
    """The judged cells of a screen, and what is known without them."""

    task: Task
    partition: str
    data: Data
    truth: Observed
    reference: Reference
    units: Units

    @classmethod
    def of(
        cls, task: Task, partition: str, *, control: np.ndarray | None = None, unit_key: str | None = None
    ) -> Judged:
        """Take pseudobulks of the judged cells and of train."""
        task.partition.require("train", partition, purpose=f"Scoring the perturbations of {partition!r} with baselines")
        task.check_train()
        train, truth = task.observed("train"), task.observed(partition)
        if not len(truth.pairs):
            msg = f"partition={partition!r} has control cells only; there is no perturbation to score."
            raise ValueError(msg)
        truth = _with_controls(truth, train, task, partition)
        start = train.control if control is None else control
        level = start[np.isfinite(start).all(axis=1)].mean(axis=0)
        columns = {str(gene): i for i, gene in enumerate(task.genes)}
        return cls(
            task,
            partition,
            task.data(train),
            truth,
            Reference(start, centroids(train), metrics.top_genes(level, N_TOP), columns),
            Units.of(truth, task.screen.names, unit_key),
        )

    def baselines(
        self, names: Sequence[str] | None, *, leave_out: str | None = None, generative: bool = False
    ) -> list[Scored]:
        """Fit baselines on train and predict the judged perturbations.

        By default, baselines of contexts are used if there are several, or if train has seen a judged perturbation; the
        baseline of cells is used with a generative method, and baselines of doses are used if the screen has doses.
        """
        wanted = METHODS.baselines(names, known=self._known(generative=generative))
        scored = []
        for name in progress([n for n in dict.fromkeys(wanted) if n != leave_out], "baselines"):
            try:
                fit = self.task.fit(name, data=self.data)
            except ValueError as problem:
                if names is not None:
                    raise
                logger.info("baseline %r is left out: %s", name, problem)
                continue
            scored.append(self.scored(fit, name, "baseline"))
        return scored

    def _known(self, *, generative: bool) -> Collection[str]:
        seen = set(self.data.profiles.pairs.targets)
        again = self.task.screen.n_contexts > 1 or any(targets in seen for targets in self.truth.pairs.targets)
        doses = self.truth.pairs.dose is not None
        known = (("contexts", again), ("cells", generative), ("doses", doses))
        return {name for name, is_known in known if is_known}

    def scored(self, fit: Fit, name: str, role: Literal["model", "baseline", "control"]) -> Scored:
        """Predict the judged perturbations with a fit."""
        prediction = predict(fit, self.truth.pairs, self.task.controls(self.reference.control))
        if not isinstance(prediction, Generated):
            return Scored(name, role, prediction.change, prediction.fallback)
        seed, pairs = int(fit.config["seed"]), self.truth.pairs

        def cells(i: int) -> np.ndarray:
            rng = rng_of(seed, pairs[i], stream=1)
            return prediction.distinct_cells(i, min(MOST_CELLS, int(self.truth.n_cells[i])), rng)

        return Scored(name, role, prediction.change, prediction.fallback, cells)

    def table(self, scored: list[Scored], *, n_bootstrap: int, rng: Rng) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Table of the evaluation, and the scores of each perturbation and context."""
        draws, task = generator(rng), self.task
        mask = task.partition.mask(self.partition)
        controls = drawn_controls(task.cells, mask, self.truth.control, draws)
        drawn = Draws.of(self.units.n, controls, n_bootstrap=n_bootstrap, rng=draws)
        train, top = task.partition.mask("train"), self.reference.top
        space = CellSpace.of(task.cells, self.truth, train, mask, draws, top=top)
        table, rows = evaluation_table(
            scored, self.truth, self.reference, halves(task.cells, mask, draws), drawn, space, self.units
        )
        by_pair = [self._rows(method, scores) for method, scores in zip(scored, rows, strict=True)]
        return table, pd.concat(by_pair, ignore_index=True)

    def _rows(self, scored: Scored, values: dict[str, np.ndarray]) -> pd.DataFrame:
        truth, names = self.truth, self.task.screen.names
        frame = pd.DataFrame({"method": scored.method, "role": scored.role}, index=range(len(truth.pairs)))
        frame[names.perturbation_key] = [names.joined(targets) for targets in truth.pairs.targets]
        for place, column in enumerate(names.covariate_keys):
            frame[column] = [names.contexts[c][place] for c in truth.pairs.context]
        seen = {target for targets in self.data.profiles.pairs.targets for target in targets}
        if names.dose_key is not None and truth.pairs.dose is not None:
            frame[names.dose_key] = truth.pairs.dose
        frame["n_cells"] = truth.n_cells
        frame["n_targets"] = [len(targets) for targets in truth.pairs.targets]
        frame["n_seen"] = seen_targets(list(truth.pairs.targets), seen)
        frame["fallback"] = scored.fallback
        return frame.assign(**values)


def check_how(partition: str, baselines: Sequence[str] | None, n_bootstrap: int) -> None:
    """Refuse wrong arguments before long work starts."""
    check_choice(partition, "partition", PARTITIONS[:3])
    check_integer(n_bootstrap, "n_bootstrap", least=1)
    METHODS.baselines(baselines)


def judge_fit(
    adata: AnnData,
    fit: Fit,
    split: Partition,
    *,
    key: str,
    partition: str,
    baselines: Sequence[str] | None,
    n_bootstrap: int,
    rng: Rng,
    unit_key: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score a stored fit over perturbations: the table of the evaluation, and the scores behind it."""
    check_how(partition, baselines, n_bootstrap)
    check_split(adata, fit, split, key=key)
    task = task_of_fit(adata, split, fit, key=key)
    judged = Judged.of(task, partition, control=fit.arrays["control"], unit_key=unit_key)
    method = METHODS.method_of(fit).name
    model = judged.scored(fit, method, "model")
    scored = [model, *judged.baselines(baselines, leave_out=method, generative=model.cells is not None)]
    scored += [*shifted_controls(model), *replaced_embeddings(judged, fit)]
    table, rows = judged.table(scored, n_bootstrap=n_bootstrap, rng=rng)
    return _with_notes(table, fit), with_coverage(rows, judged, fit, model.change)


def _with_notes(table: pd.DataFrame, fit: Fit) -> pd.DataFrame:
    """Add notes on the parents of the judged fit, and on what it chose on held-out perturbations of train."""
    chosen = getattr(METHODS.implementation(METHODS.method_of(fit).name), "chosen", None)
    note = "; ".join(filter(None, [pretraining_note(fit), chosen(Fitted.of(fit)) if chosen else ""]))
    if not note:
        return table
    is_model = (table["role"] == "model").to_numpy()
    notes = [f"{note}; {old}" if old else note for old in table["note"]]
    return table.assign(note=np.where(is_model, notes, table["note"]))


def shifted_controls(model: Scored) -> list[Scored]:
    """The generated mean with the spread of the controls: what a generative method would score as a mean."""
    if model.cells is None:
        return []
    return [replace(model.control(SHIFTED), cells=None)]


def replaced_embeddings(judged: Judged, fit: Fit) -> list[Scored]:
    """The same method with each of its embeddings shuffled, and replaced by noise."""
    method, config = METHODS.method_of(fit).name, METHODS.config_of(fit)
    if not embeddings_of(config):
        return []
    if any(parent.known for parent in parents_of(fit.info)):
        logger.info("%s started from another fit, so it is not compared with a shuffled and a random embedding", method)
        return []
    seed = int(fit.config["seed"])
    fits = {
        how: judged.task.fit(method, config, seed=seed, data=judged.data, replacement=how)
        for how in ("shuffled", "random")
    }
    return [judged.scored(other, method, "control").control(f"{how} embedding") for how, other in fits.items()]


def with_coverage(rows: pd.DataFrame, judged: Judged, fit: Fit, change: np.ndarray) -> pd.DataFrame:
    """Add the share of genes inside the intervals of each nominal coverage, if the judged fit has intervals."""
    if "half_widths" not in fit.arrays:
        return rows
    truth = judged.truth
    error = np.abs(truth.mean - profiles(fit, truth.pairs, change))
    is_model = (rows["role"] == "model").to_numpy()
    for nominal in COVERAGES:
        stored = (fit.arrays["half_widths"], fit.info["calibration"], fit.arrays["scale"])
        width = half_widths(*stored, strata_of(fit, truth.pairs), nominal)
        share = np.full(len(rows), np.nan)
        share[is_model] = np.where(np.isfinite(width + error).all(axis=1), (error <= width).mean(axis=1), np.nan)
        rows[f"coverage_{nominal:g}"] = share
    return rows


def _with_controls(truth: Observed, train: Observed, task: Task, partition: str) -> Observed:
    """The judged perturbations; a context without controls in the partition gets the train controls."""
    lacking = np.flatnonzero(truth.control_n == 0)
    needed = np.intersect1d(lacking, truth.pairs.context)
    if not len(needed):
        return truth
    logger.warning(
        "%s has no control cells in %d contexts (e.g. %s). The train controls are used there, so the true and the "
        "predicted "
        "changes share their noise. heldout.pp.split_perturbations gives each partition its own controls",
        partition,
        len(needed),
        task.screen.names.shown(int(needed[0])),
    )
    control, var, n = truth.control.copy(), truth.control_var.copy(), truth.control_n.copy()
    control[needed], var[needed], n[needed] = train.control[needed], train.control_var[needed], train.control_n[needed]
    return replace(truth, control=control, control_var=var, control_n=n)
