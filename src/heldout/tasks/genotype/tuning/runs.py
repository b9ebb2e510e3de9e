"""One fit of a comparison: a method with its options on one fold and seed, scored on the groups of the fold."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.arrays import describe, get_matrix, moments
from heldout._core.chain import steps
from heldout.metrics.classification import group_log_probability, roc_auc
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.resolve import resolved
from heldout.tasks.genotype.task import group_labels
from heldout.tasks.genotype.thresholds import thresholds
from heldout.tasks.genotype.trained import Trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout.tasks.genotype.tuning.fold import Fold, Question

_ONE_AT_A_TIME = threading.Lock()
"""All threads of a process share the generator of torch, so fits of one process must not run at the same time."""


@dataclass(frozen=True)
class Entry:
    """One fit: a method with its options, a split and a seed."""

    name: str
    method: str
    config: Any
    auxiliary_key: str | None
    split_key: str
    seed: int

    def digest(self, question: Question, data: str) -> str:
        """Identify the result: the same data, question, method, options, split and seed give the same digest."""
        state = [
            asdict(question),
            self.method,
            self.config.stored(),
            self.auxiliary_key,
            self.split_key,
            self.seed,
            data,
        ]
        return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()[:24]


def named_methods(methods: Sequence[str] | Mapping[str, Any]) -> dict[str, tuple[str, Any, str | None]]:
    """Check the methods of a comparison. Returns method, options and auxiliary column by display name.

    Raises
    ------
    ValueError
        If a method is not in the registry, or none is given.
    TypeError
        If options are of another class than those of the method.
    """
    found = {}
    for name, how in _by_name(methods).items():
        options = dict(how) if isinstance(how, Mapping) else {"method": how}
        method, config = resolved(
            options.pop("method", name), options.pop("config", None), argument=f"methods[{name!r}]"
        )
        if METHODS.is_adapter(method) and name in {each.name for each in METHODS}:
            msg = f"methods[{name!r}] is an estimator, but {name!r} is a method of heldout. Give it another name."
            raise ValueError(msg)
        auxiliary_key = options.pop("auxiliary_key", None)
        if options:
            msg = f"methods[{name!r}] has {sorted(options)}; only method, config and auxiliary_key are allowed."
            raise ValueError(msg)
        if auxiliary_key is not None and (METHODS[method].role != "model" or METHODS.is_adapter(method)):
            msg = (
                f"methods[{name!r}]: auxiliary_key={auxiliary_key!r} works only with networks, not with {method!r}. "
                "Leave it out."
            )
            raise ValueError(msg)
        found[name] = (method, config, auxiliary_key)
    if not found:
        msg = "methods is empty. Pass at least one method, e.g. ['pseudobulk_logistic', 'mlp']."
        raise ValueError(msg)
    return found


def _by_name(methods: Any) -> Mapping[str, Any]:
    """Methods by display name. An estimator in a list is named after its class."""
    if isinstance(methods, Mapping):
        return methods
    if isinstance(methods, str) or not isinstance(methods, Iterable) or hasattr(methods, "fit"):
        msg = f"methods={methods!r} must be a list of methods, or a mapping of names to methods. Pass [{methods!r}]."
        raise TypeError(msg)
    found: dict[str, Any] = {}
    for each in methods:
        if isinstance(each, str):
            found[each] = {}
            continue
        name = resolved(each, argument="methods")[1].name
        if name in found:
            msg = f"methods has several estimators named {name!r}. Pass a mapping of names to estimators."
            raise ValueError(msg)
        found[name] = each
    return found


def is_random(method: str, config: Any) -> bool:
    """Whether another seed gives another fit."""
    return bool(config.stochastic if METHODS.is_adapter(method) else METHODS[method].load().stochastic)


def data_digest(adata: AnnData, layer: str | None) -> str:
    """Digest of the matrix by the moments of its genes, and of the names."""
    found = moments(get_matrix(adata, layer, dask=True))
    state = hashlib.sha256("\n".join([*adata.obs_names, "", *adata.var_names]).encode())
    state.update(np.round(found.mean, 6).tobytes() + np.round(found.var, 6).tobytes())
    return state.hexdigest()


def run(fold: Fold, entry: Entry, *, partition: str, data: str) -> pd.DataFrame:
    """Fit on the cells of a fold, and predict the groups of a partition. Returns one row for each group."""
    with _ONE_AT_A_TIME:
        task, split = fold.task(entry.auxiliary_key), fold.split
        trained = Trained.of(task, entry.method, entry.config, seed=entry.seed)
        rows = split.rows(partition)
        log_p, labels, (names, groups) = trained.predict(rows), task.labels[rows], fold.groups_in(partition)
        cut = None
        if partition == "test" and len(split.rows("val")):
            val = split.rows("val")
            cut = thresholds(task.labels[val], trained.predict(val), fold.groups_in("val")[1])
    pooled = group_log_probability(log_p, groups)
    of_group = group_labels(names, groups, labels, task.classes)
    return pd.DataFrame(
        {
            "digest": entry.digest(fold.question, data),
            "method": entry.name,
            "fold": entry.split_key,
            "seed": entry.seed,
            "group": names.astype(str),
            "label": of_group,
            "n_cells": np.bincount(groups),
            "cell_auc": np.nan if METHODS[entry.method].load().by_group else roc_auc(labels, log_p),
            "threshold": np.nan if cut is None else cut[0],
            **{f"log_probability_{c}": pooled[:, c] for c in range(pooled.shape[1])},
        }
    )


def check_scale(adata: AnnData, question: Question) -> None:
    """Refuse raw counts, and a matrix that was prepared on one split; each fold is prepared on its train cells."""
    state = describe(get_matrix(adata, question.layer, dask=True))
    if state.kind == "counts":
        msg = (
            "adata holds raw counts. Normalise and log-transform them first: scanpy.pp.normalize_total(adata, "
            "target_sum=1e4); "
            "scanpy.pp.log1p(adata). Genes are chosen and scaled within each fold."
        )
        raise ValueError(msg)
    if steps(adata):
        msg = (
            "adata was prepared on one split already (pp.highly_variable_genes, pp.scale or pp.pca). Pass the cells "
            "as they were "
            "before: genes are chosen and scaled within each fold (n_top_genes, max_value)."
        )
        raise ValueError(msg)
