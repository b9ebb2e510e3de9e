"""Score a forecast of cells and its baselines."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.evaluations import write_evaluation
from heldout._core.fits import check_split, read_header
from heldout._core.leaks import crossing, leak_of_group
from heldout._core.method import FITTED, Fitted, with_prefix
from heldout._core.partition import read_partition
from heldout._core.progress import progress
from heldout._core.rng import generator
from heldout._core.versus import with_remark
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.encoding import coordinates
from heldout.tasks.forecast.evaluate import COLLAPSED, REFERENCE, evaluation_table, score_targets, target_table
from heldout.tasks.forecast.lineages import lineages_key_of
from heldout.tasks.forecast.past import past_skill
from heldout.tasks.forecast.scorer import DISTANCE, Target
from heldout.tasks.forecast.shared import shared_couplings
from heldout.tasks.forecast.start import cells_at, space_of
from heldout.tasks.forecast.task import MIN_CELLS, Task, check_at, check_prepared, kind, predict
from heldout.tasks.forecast.words import FOLLOWED, auto_note, damping_note, in_this_experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.rng import Rng
    from heldout.tasks.forecast.interface import Snapshots

N_SEEDS = 5
"""Number of fits with other seeds; their range is shown if there are too few target times for an interval."""


@shared_couplings()
def evaluate(
    adata: AnnData,
    key: str,
    fit: Fit,
    *,
    partition: str,
    group_key: str | Sequence[str] | None,
    baselines: Sequence[str] | None,
    n_bootstrap: int,
    rng: Rng,
) -> pd.DataFrame:
    """Compare predicted and observed cells at each target time; see :func:`heldout.tl.evaluate_forecast`."""
    split = read_partition(adata, fit.split_key)
    check_split(adata, fit, split, key=key)
    check_prepared(fit, adata, key=key, layer=fit.info["layer"])
    split.require(partition, purpose=f"evaluate(partition={partition!r})")
    info = fit.info
    options = {name: info[name] for name in ("time_key", "layer", "use_rep", "n_comps")}
    task = Task.of(adata, split, mask_var=None, lineages_key=lineages_key_of(fit), **options)
    task = replace(task, shrinks="space.within" in fit.arrays)
    _check_chains(task, fit, key)
    at = _target_times(task, fit, partition)
    method = METHODS.method_of(fit).name
    names = _baselines(baselines, at, np.array(info["train_times"]), judged=method)

    known = _members(fit)
    config, first = METHODS.config_of(fit), int(fit.config["seed"])
    others = list(range(first + 1, first + N_SEEDS)) if _is_random(method, known) and len(at) < 3 else []
    fits, seeds = {method: fit, **{name: known[name] for name in names if name in known}}, []
    if others or len(fits) <= len(names):
        data = task.data() if info["use_rep"] else _data(task, fit, key)
        missing = [name for name in names if name not in fits]
        fits |= {name: _fit(task, fit, name, data) for name in progress(missing, "baselines")}
        seeds = [_fit(task, fit, method, data, config, seed=seed) for seed in progress(others, "seeds")]
    groups = None if group_key is None else _groups(adata, group_key)
    targets = [_target(task, fit, key, time, partition, fits, seeds, groups) for time in at]

    roles = {name: "model" if i == 0 else "baseline" for i, name in enumerate(fits)} | {COLLAPSED: "sentinel"}
    scores = score_targets(targets, space_of(fit), rng=generator(rng))
    beyond = bool(at[-1] > info["train_times"][-1])
    notes = {n: damping_note(f.info["fitted"].get("damping"), beyond=beyond) for n, f in fits.items()}
    notes[method] = notes[method] or auto_note(fit.info["fitted"])
    if groups is not None and len(crossing(groups, split.codes, partition).names):
        notes = {n: "; ".join(filter(None, [note, FOLLOWED])) for n, note in notes.items()}
    table = evaluation_table(
        scores, roles=roles, notes=notes, time_key=info["time_key"], n_bootstrap=n_bootstrap, rng=generator(rng)
    )
    remark = in_this_experiment(
        method,
        scores.values[method]["skill_corrected"],
        starts=scores.starts,
        targets=scores.times,
        no_gap=scores.no_gap,
        away=scores.values[method][DISTANCE] > scores.noise,
        time_key=info["time_key"],
        past=past_skill(method, fit.info["fitted"], float(at[-1]), beyond=beyond),
    )
    table = with_remark(table, remark)
    leak = leak_of_group(adata, split, partition)
    by_target = target_table(scores, targets, roles)
    return write_evaluation(adata, key, fit, split, table, by_target, partition=partition, leak=leak)


def _check_chains(task: Task, fit: Fit, key: str) -> None:
    if task.lineages_key is not None and read_header(task.adata, task.lineages_key).hash != fit.info["lineages_fit"]:
        msg = (
            f"The lineages {task.lineages_key!r} were drawn again after the fit {key!r} was trained on them, so the "
            "fit cannot be "
            "repeated with other seeds. Call heldout.tl.forecast again."
        )
        raise ValueError(msg)


def _target_times(task: Task, fit: Fit, partition: str) -> np.ndarray:
    """Times to score: those of the partition that are after a train time."""
    points, counts = np.unique(task.times[task.partition.mask(partition)], return_counts=True)
    if partition == "train" or np.isin(points, fit.info["train_times"]).any():
        msg = (
            f"partition={partition!r} has cells of train times ({points.tolist()}); a forecast is scored at times "
            "that were not trained on."
        )
        raise ValueError(msg)
    if (counts < MIN_CELLS).any():
        few = counts.argmin()
        msg = (
            f"{task.time_key}={points[few]:g} has {counts[few]} cells in {partition}; a score needs at least "
            f"{MIN_CELLS}. Drop "
            "that time from the split."
        )
        raise ValueError(msg)
    for point in points:
        check_at(fit, point)
    return points


def _baselines(asked: Sequence[str] | None, at: np.ndarray, train: np.ndarray, *, judged: str) -> list[str]:
    """Baselines that can predict all targets, always with persistence."""
    wanted = {kind(train, time) for time in at}
    names = METHODS.baselines(asked, kinds=wanted)
    if asked is None and "interpolation" not in wanted and len(train) < 3:
        names = [name for name in names if METHODS[name].load().min_times == 1]
    for name in names:
        if not wanted <= METHODS[name].kinds:
            msg = f"baselines has {name!r}, which cannot do {' and '.join(sorted(wanted))}. Leave it out."
            raise ValueError(msg)
    return [name for name in dict.fromkeys([REFERENCE, *names]) if name != judged]


def _members(fit: Fit) -> dict[str, Fit]:
    """Fits that a mixture has made already, with their default options."""
    mixture = METHODS.implementation_of(fit)
    if not hasattr(mixture, "members"):
        return {}
    space = {name: array for name, array in fit.arrays.items() if name.startswith("space.")}
    found = {}
    for name, fitted in mixture.members(Fitted.of(fit)).items():
        config = {**asdict(METHODS[name].load().default_config), "seed": fit.config["seed"]}
        arrays = {**space, **with_prefix(fitted.arrays, FITTED)}
        info = {**fit.info, "fitted": fitted.info}
        found[name] = replace(fit, method=f"forecast.{name}", config=config, arrays=arrays, info=info)
    return found


def _is_random(method: str, members: dict[str, Fit]) -> bool:
    """Whether the method, or a part of it, gives another fit with another seed."""
    return any(METHODS[name].load().stochastic for name in (method, *members))


def _data(task: Task, fit: Fit, key: str) -> Snapshots:
    """Snapshots of the genes of the fit, in its space."""
    return replace(task, columns=fit.columns(task.adata.var_names, key=key)).data()


def _fit(task: Task, fit: Fit, method: str, data: Snapshots, config: Any = None, *, seed: int = 0) -> Fit:
    columns = fit.columns(task.adata.var_names, key=method)
    return replace(task, columns=columns).fit(method, config, seed=seed, data=data)


def _groups(adata: AnnData, group_key: str | Sequence[str]) -> np.ndarray:
    from heldout.splitting._components import components

    names = [group_key] if isinstance(group_key, str) else group_key
    return components(*[store.as_names(store.column(adata, name, argument="group_key")) for name in names])


def _target(
    task: Task,
    fit: Fit,
    key: str,
    at: float,
    partition: str,
    fits: dict[str, Fit],
    seeds: list[Fit],
    groups: np.ndarray | None,
) -> Target:
    _, start_time, start = cells_at(task.adata, fit, at, key=key, layer=task.layer)
    observed = np.flatnonzero(task.partition.mask(partition) & (task.times == at))
    columns = fit.columns(task.adata.var_names, key=key)
    truth = coordinates(task.adata, observed, columns, space_of(fit), task.layer)

    def moved(fitted: Fit) -> np.ndarray:
        return predict(fitted, start, start_time, at, rng=np.random.default_rng(int(fitted.config["seed"])))

    return Target(
        time=float(at),
        start_time=start_time,
        truth=truth,
        last=start,
        predicted={name: moved(fitted) for name, fitted in fits.items()},
        seeds=[moved(fitted) for fitted in seeds],
        groups=None if groups is None else groups[observed],
    )
