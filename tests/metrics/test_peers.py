"""Scores of the same cells by cell-eval and scperteval, where these are installed; they are no dependencies.

Definitions that differ are named where they are met.
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from heldout import metrics

pytestmark = pytest.mark.filterwarnings("ignore")  # of other packages
NAMES = [f"P{p}" for p in range(8)]
N_GENES, N_CELLS = 80, 40
TARGETS = np.arange(8)


def screen(seed: int, strength: float, wrong: float = 0.0) -> ad.AnnData:
    """Eight perturbations and controls; the first eight genes are their targets, all genes are seen in the controls.

    ``wrong`` effects of another perturbation make a prediction that is partly right.
    """
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    level = fixed.gamma(2.0, size=N_GENES) + 1
    effects = fixed.normal(scale=0.6, size=(8, N_GENES)) * (fixed.random((8, N_GENES)) < 0.4)
    mixed = strength * effects + wrong * np.roll(effects, 1, axis=0)
    means = level * np.exp(np.concatenate([np.zeros((1, N_GENES)), mixed]))
    counts = rng.poisson(np.repeat(means, N_CELLS, axis=0) * rng.gamma(5.0, 0.2, size=(9 * N_CELLS, 1)))
    logs = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e3)
    obs = pd.DataFrame({"perturbation": np.repeat(["control", *NAMES], N_CELLS)}, index=map(str, range(9 * N_CELLS)))
    genes = NAMES + [f"gene{g}" for g in range(N_GENES - 8)]
    return ad.AnnData(logs, obs=obs, var=pd.DataFrame(index=genes))


@pytest.fixture(scope="module")
def truth():
    return screen(1, 1.0)


@pytest.fixture(scope="module")
def prediction():
    return screen(2, 0.5, wrong=0.5)  # so that not every perturbation is told apart


def cells(adata, name):
    return adata.X[(adata.obs["perturbation"] == name).to_numpy()]


def means(adata):
    return np.stack([cells(adata, name).mean(axis=0) for name in NAMES]), cells(adata, "control").mean(axis=0)


def genes_of(adata):
    """Differential genes of all perturbations against the controls of the same file."""
    perturbed = adata[adata.obs["perturbation"] != "control"]
    return metrics.differential(perturbed.X, cells(adata, "control"), groups=np.repeat(np.arange(8), N_CELLS))


@pytest.fixture(scope="module")
def by_cell_eval(truth, prediction, tmp_path_factory):
    cell_eval = pytest.importorskip("cell_eval", reason="cell-eval is not installed")
    evaluator = cell_eval.MetricsEvaluator(
        adata_pred=prediction.copy(),
        adata_real=truth.copy(),
        control_pert="control",
        pert_col="perturbation",
        num_threads=1,
        outdir=str(tmp_path_factory.mktemp("cell_eval")),
    )
    skip = ["clustering_agreement", "pearson_edistance"]
    table = evaluator.compute(profile="full", write_csv=False, skip_metrics=skip)[0].to_pandas()
    return table.set_index("perturbation").loc[NAMES]


def test_errors_and_changes_equal_cell_eval(by_cell_eval, truth, prediction):
    (true, control), (predicted, own_control) = means(truth), means(prediction)
    np.testing.assert_allclose(metrics.profile_mae(true, predicted), by_cell_eval["mae"], rtol=1e-9)
    np.testing.assert_allclose(metrics.profile_rmse(true, predicted) ** 2, by_cell_eval["mse"], rtol=1e-9)
    r = metrics.pearson_delta(true, predicted, control, prediction_start=own_control)
    np.testing.assert_allclose(r, by_cell_eval["pearson_delta"], rtol=1e-9)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_discrimination_equals_cell_eval(by_cell_eval, truth, prediction, distance):
    (true, control), (predicted, own_control) = means(truth), means(prediction)
    options = {"edition": 2025, "distance": distance, "exclude": TARGETS}
    ours = metrics.discrimination_score(true - control, predicted - own_control, **options)
    assert len(set(ours)) > 1
    np.testing.assert_allclose(ours, by_cell_eval[f"discrimination_score_{distance}"], rtol=1e-12)


def test_overlap_equals_cell_eval(by_cell_eval, truth, prediction):
    """cell-eval has no pseudocount in its fold changes: they are infinite for a gene without counts on one side."""
    true, predicted = genes_of(truth), genes_of(prediction)
    np.testing.assert_array_equal((true.p_adjusted < 0.05).sum(axis=1), by_cell_eval["de_nsig_counts_real"])
    np.testing.assert_array_equal((predicted.p_adjusted < 0.05).sum(axis=1), by_cell_eval["de_nsig_counts_pred"])
    assert (true.p_adjusted < 0.05).sum(axis=1).min() > 0  # with none ours is NaN, theirs 0
    ours = metrics.de_overlap(true, predicted)
    assert len(set(ours)) > 1
    np.testing.assert_allclose(ours, by_cell_eval["overlap_at_N"], rtol=1e-12)


@pytest.fixture(scope="module")
def by_scperteval(truth, prediction):
    scperteval = pytest.importorskip("scperteval", reason="scperteval is not installed")
    prepared = scperteval.prepare(truth, [], min_cells=5, workers=1)

    def score(protocol):
        table = scperteval.score(prepared, protocol, prediction).per_perturbation
        return table.set_index("perturbation").loc[NAMES]["score"].to_numpy()

    return score


def test_errors_and_changes_equal_scperteval(by_scperteval, truth, prediction):
    (true, control), (predicted, _) = means(truth), means(prediction)
    np.testing.assert_allclose(
        metrics.pearson_delta(true, predicted, control), by_scperteval("pearson_ctrl"), rtol=1e-6
    )
    others = np.stack(
        [np.delete(true, p, axis=0).mean(axis=0) for p in range(8)]
    )  # leave-one-out: it may use test truths
    np.testing.assert_allclose(metrics.pearson_delta(true, predicted, others), by_scperteval("pearson_pert"), rtol=1e-6)
    genes = metrics.top_genes(control, 50)
    ours = metrics.profile_l2(true[:, genes], predicted[:, genes])
    np.testing.assert_allclose(ours, by_scperteval("l2_heg_k=50"), rtol=1e-6)


def test_ranks_equal_scperteval(by_scperteval, truth, prediction):
    (true, _), (predicted, _) = means(truth), means(prediction)
    ours = metrics.perturbation_rank(true, predicted)
    assert len(set(ours)) > 1
    np.testing.assert_allclose(ours, by_scperteval("rank"), atol=1e-12)
    ours = metrics.perturbation_rank(true, predicted, among="truths")
    np.testing.assert_allclose(ours, by_scperteval("transpose_rank"), atol=1e-12)
    np.testing.assert_allclose(metrics.centroid_accuracy(true, predicted), by_scperteval("nir"), atol=1e-12)


def test_weighted_error_equals_scperteval(by_scperteval, truth, prediction):
    """Their weights sum to 1, which is the same; theirs are all equal where ours are NaN (all t alike)."""
    (true, _), (predicted, _) = means(truth), means(prediction)
    groups = [cells(truth, name) for name in NAMES]
    spread = np.stack([X.var(axis=0, ddof=1) for X in groups])
    n = np.full(8, N_CELLS)
    mean, variance, n_rest = metrics.rest_moments(true, spread, n)
    t = metrics.t_scores(true, spread, n, control_mean=mean, control_variance=variance, control_n=n_rest)
    ours = metrics.weighted_mse(true, predicted, metrics.score_weights(t))
    np.testing.assert_allclose(ours, by_scperteval("wmse_exp2"), rtol=1e-6)


def test_energy_distance_equals_scperteval(truth, prediction):
    peer = pytest.importorskip("scperteval.protocols.metrics", reason="scperteval is not installed")
    for name in NAMES[:3]:
        pair = cells(truth, name), cells(prediction, name)
        assert metrics.energy_distance(*pair) == pytest.approx(peer.energy_distance(*pair, None), rel=1e-6)


@pytest.fixture(scope="module")
def by_cell_eval2(truth, prediction):
    """Tables of differential genes as cell-eval2, the scorer of 2026, takes them; it leaves out the target of each."""
    parts = pytest.importorskip("cell_eval2.metrics.de", reason="cell-eval2 is not installed")
    pl = pytest.importorskip("polars")

    def table(found):
        columns = {"log2_fold_change": found.log_fold_change, "p_value": found.p_value, "p_adj": found.p_adjusted}
        names = {"target": np.repeat(NAMES, N_GENES), "feature": np.tile(truth.var_names.to_numpy(dtype=str), 8)}
        return pl.DataFrame(names | {name: values.ravel() for name, values in columns.items()})

    options = {"control": "control", "sort_by": "abs_log2_fold_change", "p_adj_threshold": 0.05}
    both = table(genes_of(prediction)), table(genes_of(truth))
    return parts._ensure_prepared(None, *both, nan_lfc_policy="mask", min_abs_log2fc=0.0, **options)


def test_directions_and_fold_changes_equal_cell_eval2(by_cell_eval2, truth, prediction):
    lists = pytest.importorskip("cell_eval2.metrics.de", reason="cell-eval2 is not installed")
    directions = pytest.importorskip("cell_eval2.metrics.direction", reason="cell-eval2 is not installed")
    fidelity = directions._fidelity_family(by_cell_eval2).select("target", "direction_fidelity_yield_raw")
    expected = {
        metrics.direction_fidelity: dict(fidelity.iter_rows()),
        metrics.direction_reach: directions.de_direction_reach(by_cell_eval2, corrected=False),
        metrics.de_jaccard: lists.de_sig_jaccard(by_cell_eval2),
        metrics.lfc_nmae: lists.de_lfc_nmae(by_cell_eval2),
    }
    for score, theirs in expected.items():
        ours = score(genes_of(truth), genes_of(prediction), exclude=TARGETS)
        assert len(set(ours)) > 1
        np.testing.assert_allclose(ours, [theirs.get(name, np.nan) for name in NAMES], rtol=1e-12)


@pytest.mark.parametrize("collapsed", [False, True])
def test_discrimination_and_noise_equal_cell_eval2(truth, prediction, collapsed):
    peer = pytest.importorskip("cell_eval2.metrics.discrimination", reason="cell-eval2 is not installed")
    noise = pytest.importorskip("cell_eval2.moments", reason="cell-eval2 is not installed")
    (true, control), (predicted, _) = means(truth), means(prediction)
    if collapsed:
        predicted = np.tile(predicted.mean(axis=0), (8, 1))
    labels = np.array([*NAMES, "control"])
    theirs = peer.discrimination_score(
        pred_bulk=(labels, np.vstack([predicted, control])),
        real_bulk=(labels, np.vstack([true, control])),
        control="control",
        distance="cosine",
        rank_denominator="n-1",
        control_source="real",
        genes=truth.var_names.to_numpy(dtype=str),
    )
    ours = metrics.discrimination_score(true - control, predicted - control, exclude=np.arange(N_GENES) < 8)
    np.testing.assert_allclose(ours, [theirs[name] for name in NAMES], rtol=1e-12)
    counts = np.random.default_rng(0).poisson(2, size=(50, 30))
    jackknife = noise.jackknife_correction(counts, np.zeros(50, dtype=int), 1, 5e4)[0]
    assert metrics.bulk_profile(counts)[1] == pytest.approx(jackknife, rel=1e-9)
