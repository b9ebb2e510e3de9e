"""Fits of perturbations on splits that record no screen, used again: by guides, on fewer cells, from a file."""

import numpy as np
import pytest

import heldout as ho
from heldout._core.embeddings import Embedding
from heldout.model import InformedAdditiveConfig, LinearConfig
from tests.helpers.perturbations import combinations, exact, simulated

FEW = {"baselines": ["no_change", "mean"], "n_bootstrap": 20}


def donors(adata):
    """Every other cell is from the donor that is held out."""
    adata.obs["donor"] = np.where(np.arange(adata.n_obs) % 2, "d1", "d2")
    ho.pp.split_assigned(adata, "donor", train=["d1"], test=["d2"])
    return adata


@pytest.mark.parametrize(
    ("targets", "control"),
    [
        ({"A_1": "A", "A_2": "A", "B": "B", "NT_1": "control", "control": "control"}, "control"),
        ({"A_1": "A", "A_2": "A", "B": "B"}, ["control", "NT_1"]),
    ],
)
def test_guides_of_which_some_are_named_as_their_target_can_be_scored(targets, control):
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=60) for name in ("A_1", "A_2", "B")} | {"NT_1": np.zeros(60)}
    adata, _ = exact(effects, {}, genes=60)
    ho.tl.perturbation(donors(adata), "guide", targets=targets, control=control, method="transfer")
    assert ho.tl.predict_profiles(adata, "perturbation").obs_names.tolist() == ["A", "B"]
    table = ho.tl.evaluate(adata, "perturbation", **FEW).set_index(["method", "metric"])["estimate"]
    assert table["transfer", "l2"] < 0.2 * table["no_change", "l2"]


def test_a_context_that_is_dropped_does_not_shift_the_others():
    adata = donors(simulated(n_contexts=2, n_cells=20))
    ho.tl.perturbation(adata, "perturbation", covariate_keys="cell_line", method="transfer")
    last = sorted(adata.obs["cell_line"].unique())[-1]
    fewer = adata[adata.obs["cell_line"] == last].copy()
    expected, found = (
        ho.tl.predict_profiles(adata, "perturbation", contexts=[last]),
        ho.tl.predict_profiles(fewer, "perturbation"),
    )
    assert set(found.obs["cell_line"]) == {last}
    np.testing.assert_array_equal(found.X, expected[found.obs_names].X)
    scores = []
    for one in (adata, fewer):
        ho.tl.evaluate(one, "perturbation", **FEW)
        rows = ho.get.scores(one, "perturbation").query("method == 'transfer' and cell_line == @last")
        scores.append(rows.set_index("perturbation")["l2"])
    np.testing.assert_allclose(scores[1], scores[0][scores[1].index])


def test_other_cells_may_be_a_dask_array_but_not_backed(tmp_path):
    import anndata as ad
    import dask.array as da

    adata = combinations()
    ho.tl.perturbation(adata, method="additive")
    other = simulated(rng=3)
    ask = {"perturbations": ["NEW"], "reference": adata}
    expected = ho.tl.predict_profiles(other, "perturbation", **ask)
    other.write_h5ad(tmp_path / "other.h5ad")
    other.X = da.from_array(other.X, chunks=(40, other.n_vars), asarray=False)
    np.testing.assert_allclose(ho.tl.predict_profiles(other, "perturbation", **ask).X, expected.X, rtol=1e-6)
    backed = ad.read_h5ad(tmp_path / "other.h5ad", backed="r")
    with pytest.raises(TypeError, match=r"adata.X is a .*Load or convert it"):
        ho.tl.predict_profiles(backed, "perturbation", **ask)
    backed.file.close()


def test_contexts_may_be_numbers():
    adata = simulated(n_contexts=2)
    adata.obs["dose"] = np.where(adata.obs["cell_line"] == "line1", 1.0, 10.0)
    ho.pp.split_perturbations(
        adata, "perturbation", hold_out="context", covariate_keys="dose", val=0, test=0.2, max_contexts=1
    )
    ho.tl.perturbation(adata, method="transfer")
    one, listed = (ho.tl.predict_profiles(adata, "perturbation", contexts=at) for at in (10.0, [10.0]))
    assert set(one.obs["dose"]) == {"10"}
    np.testing.assert_array_equal(one.X, listed.X)


def test_options_and_embeddings_of_the_first_version_keep_their_old_names():
    stored = {"n_components": 4, "penalty": 0.2, "gene_embedding": None, "perturbation_embedding": "v", "seed": 0}
    assert LinearConfig.from_stored(stored) == LinearConfig(n_comps=4, penalty=0.2, perturbation_embedding="v")
    stored = {
        "n_components": None,
        "penalty": None,
        "perturbation_embedding": None,
        "n_vector_components": 3,
        "seed": 1,
    }
    assert InformedAdditiveConfig.from_stored(stored) == InformedAdditiveConfig(n_vector_comps=3)
    embedding = Embedding(np.array(["A", "B"], dtype=object), np.eye(2, dtype=np.float32), {"n_components": 2})
    assert Embedding.load(embedding.stored(), key="v").info == {"n_comps": 2}
