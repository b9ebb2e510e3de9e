"""Every function that writes into an AnnData writes the slots that its docstring promises, and no others."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import anndata
import dask.array as da
import mudata as md
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

import heldout as ho
from tests.helpers import courses, forecasts, interactions, perturbations
from tests.helpers.array_support import BACKED, KINDS, MUDATA, takes
from tests.helpers.slots import assert_documented, documented_slots, written_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata as ad

NOT_TESTED = {
    "pp.read_libraries": "it returns a new AnnData",
    "tl.predict_cells": "it returns a new AnnData",
    "tl.predict_profiles": "it returns a new AnnData",
    "tl.to_convention": "it returns a new AnnData",
    "tl.to_counts": "it returns a new AnnData",
    "pp.subsample": "it removes cells and writes nothing",
}


# --- states of an AnnData; each is made once, and each test has a copy ------------------------------------------------


def log(adata: ad.AnnData) -> ad.AnnData:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def counts() -> ad.AnnData:
    return ho.datasets.lmna_simulated(n_cells=12, n_genes=100)


def labelled() -> ad.AnnData:
    adata = counts()
    adata.obs["perturbation"] = (["control", "A", "A_control"] * adata.n_obs)[: adata.n_obs]
    return adata


def split_counts() -> ad.AnnData:
    adata = counts()
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    return adata


def logged() -> ad.AnnData:
    return log(split_counts())


def genotype() -> ad.AnnData:
    adata = logged()
    ho.tl.genotype(adata, method="logistic")
    return adata


def later() -> ad.AnnData:
    """Cells of the same layout with other names, not split."""
    adata = log(counts())
    adata.obs_names = "later_" + adata.obs_names
    return adata


def prepared() -> ad.AnnData:
    adata = logged()
    ho.pp.highly_variable_genes(adata, 40)
    ho.pp.scale(adata)
    ho.pp.pca(adata, 3)
    return adata


def folded() -> ad.AnnData:
    adata = log(counts())
    ho.pp.folds(adata, "library", "genotype", n_folds=3)
    return adata


def course() -> ad.AnnData:
    return courses.course(n_genes=30)


def course_fitted() -> ad.AnnData:
    adata = course()
    ho.tl.forecast_genes(adata, "hour", method="ridge")
    return adata


def cells_in_time() -> ad.AnnData:
    return forecasts.split(forecasts.adata_of())


def forecast_fitted() -> ad.AnnData:
    adata = cells_in_time()
    ho.tl.forecast(adata, "h", method="persistence")
    return adata


def screen() -> ad.AnnData:
    return perturbations.combinations(n_genes=50)


def screen_fitted() -> ad.AnnData:
    adata = screen()
    ho.tl.perturbation(adata, method="additive")
    return adata


def with_interactions() -> ad.AnnData:
    return interactions.simulated(6, 8, 60, 20).adata


@functools.cache
def _made(make: Callable[[], ad.AnnData]) -> ad.AnnData:
    return make()


# --- what each function is called with --------------------------------------------------------------------------------

MATCHED = {"group_key": "library", "match_key": "day", "label_key": "genotype", "test": 19, "val": 0}
FEW = {"n_bootstrap": 20}
CALLS: dict[str, tuple[Callable[[], ad.AnnData], dict[str, object]]] = {
    "pp.embedding": (counts, {"source": lambda adata: adata.to_df().T}),
    "pp.from_convention": (labelled, {"convention": "pertpy"}),
    "pp.highly_variable_genes": (logged, {"n_top_genes": 40}),
    "pp.lineages": (prepared, {"time_key": "day", "n_chains": 10}),
    "pp.numeric_time": (counts, {"time_key": "day"}),
    "pp.pca": (logged, {"n_comps": 3}),
    "pp.recipe_karpe26": (split_counts, {"n_top_genes": 40}),
    "pp.scale": (logged, {}),
    "pp.split_assigned": (counts, {"group_key": "day", "train": ["9"], "test": ["19"]}),
    "pp.split_cells": (counts, {}),
    "pp.split_from": (counts, {"table": lambda _: ho.get.split_table(_made(split_counts)), "key_added": "published"}),
    "pp.split_genes": (logged, {"by": "module"}),
    "pp.split_groups": (counts, {"group_key": "library", "label_key": "genotype"}),
    "pp.split_matched": (counts, MATCHED),
    "pp.split_perturbations": (counts, {"perturbation_key": "library", "control": "GSM8325046"}),
    "pp.split_time": (counts, {"time_key": "day", "train": 9, "test": 30, "between": "val"}),
    "tl.audit": (genotype, {"items": ["integrity", "group_overlap"]}),
    "tl.compare": (folded, {"methods": ["majority"]}),
    "tl.learning_curve": (logged, {"methods": ["majority"], "sizes": [2, 4], "n_repeats": 2}),
    "tl.evaluate": (genotype, {"key": "genotype", "baselines": ["majority"], **FEW}),
    "tl.evaluate_forecast": (forecast_fitted, {"key": "forecast", "baselines": [], **FEW}),
    "tl.evaluate_forecast_genes": (course_fitted, {"key": "forecast_genes", "baselines": [], **FEW}),
    "tl.evaluate_genotype": (genotype, {"key": "genotype", "baselines": ["majority"], **FEW}),
    "tl.evaluate_perturbation": (screen_fitted, {"key": "perturbation", "baselines": [], **FEW}),
    "tl.forecast": (cells_in_time, {"time_key": "h", "method": "persistence"}),
    "tl.forecast_genes": (course, {"time_key": "hour", "method": "ridge"}),
    "tl.genotype": (logged, {"method": "logistic"}),
    "tl.interactions": (with_interactions, {"perturbation_key": "guide", "n_top_genes": None}),
    "tl.perturbation": (screen, {"method": "additive"}),
    "tl.predict": (later, {"key": "genotype", "reference": lambda _: _made(genotype)}),
    "tl.score_predictions": (
        screen_fitted,
        {"predicted": lambda adata: ho.tl.predict_profiles(adata, "perturbation"), "baselines": ["mean"], **FEW},
    ),
    "tl.score_probabilities": (
        folded,
        {"predicted": lambda adata: np.linspace(0.1, 0.9, adata.n_obs), "fold_key": "fold"},
    ),
    "tl.sweep": (
        logged,
        {"config": ho.model.MLPConfig(n_hidden=4, n_layers=1, max_epochs=1), "grid": {"dropout": [0.1, 0.2]}},
    ),
}


def check(name: str, make: Callable[[], ad.AnnData], arguments: dict[str, object], **options: set) -> None:
    module, member = name.split(".")
    adata = _made(make).copy()
    given = {n: value(adata) if callable(value) else value for n, value in arguments.items()}
    assert_documented(getattr(getattr(ho, module), member), adata, given, **options)


@pytest.mark.parametrize("name", CALLS)
def test_the_written_slots_are_the_documented_ones(name):
    check(name, *CALLS[name])


def test_every_writer_is_tested():
    own_test = {"pp.folds", "pp.replay"}
    public = {f"{module}.{member}" for module in ("pp", "tl") for member in getattr(ho, module).__all__}
    assert set(CALLS) | own_test | set(NOT_TESTED) == public


@pytest.mark.parametrize("fold", range(3))
def test_folds(fold):
    """The docstring describes the slots of the fold numbered ``fold``."""
    others = {k for k in range(3) if k != fold}
    also = {("obs", f"fold_{k}") for k in others} | {("uns", f"heldout/splits/fold_{k}") for k in others}
    adata = _made(counts).copy()
    written = written_by(adata, lambda: ho.pp.folds(adata, "library", "genotype", n_folds=3))
    assert written == documented_slots(ho.pp.folds, key_added="fold", fold=fold) | also


def test_replay():
    """Replay writes what the recorded steps wrote."""
    also = {("X", ""), ("obsm", "X_pca"), ("varm", "X_pca")}
    check("pp.replay", later, {"reference": lambda _: _made(prepared)}, also=also)


def test_a_layer_is_written_where_the_docstring_says():
    adata = _made(logged).copy()
    adata.layers["log"] = adata.X.copy()
    also = {("uns", "heldout/fits/scale_log")}
    assert_documented(
        ho.pp.scale, adata, {"layer": "log"}, also=also, conditional={("X", ""), ("uns", "heldout/fits/scale")}
    )


@pytest.mark.parametrize(
    ("make", "key"), [(course_fitted, "forecast_genes"), (forecast_fitted, "forecast"), (screen_fitted, "perturbation")]
)
def test_evaluations_of_every_task(make, key):
    check("tl.evaluate", make, {"key": key, "baselines": [], **FEW}, conditional={("uns", f"heldout/claims/{key}")})


# --- kinds of arrays --------------------------------------------------------------------------------------------------

FOLDS = {"pp.folds": (counts, {"group_key": "library", "label_key": "genotype", "n_folds": 3})}


def as_kind(adata: ad.AnnData, kind: str, folder: Path) -> ad.AnnData | md.MuData:
    """The same data with ``X`` as this kind, or as the first modality of a MuData."""
    X = sparse.csr_matrix(adata.X)
    adata.X = {"dense": X.toarray, "csc": X.tocsc, "dask": lambda: da.from_array(X, chunks=(50, X.shape[1]))}.get(
        kind, lambda: X
    )()
    if kind == "MuData":
        return md.MuData({"rna": adata, "other": adata[:, :5].copy()})
    if kind == "backed":
        adata.write_h5ad(folder / "backed.h5ad")
        return anndata.read_h5ad(folder / "backed.h5ad", backed="r")
    return adata


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*CALLS, *FOLDS])
def test_kinds_of_arrays(name, kind, tmp_path):
    """Each function takes the kinds that the documentation lists, and refuses the others with an advice."""
    make, arguments = (CALLS | FOLDS)[name]
    adata = _made(make).copy()
    given = {n: value(adata) if callable(value) else value for n, value in arguments.items()}
    module, member = name.split(".")
    data = as_kind(adata, kind, tmp_path)
    if takes(name, kind):
        getattr(getattr(ho, module), member)(data, **given)
        return
    with pytest.raises(TypeError, match=r"pass one modality|Load or convert it first"):
        getattr(getattr(ho, module), member)(data, **given)


def test_the_table_of_arrays_names_functions_that_are_tried():
    assert MUDATA <= BACKED <= set(CALLS) | set(FOLDS)
