"""Simulated screens: what the cells say agrees with the truth that comes with them."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

import heldout as ho
from heldout.datasets._screen import COUNTS_PER_GENE, DEPTH_SD, DISPERSION, TARGET_SUM, Depths


@pytest.fixture(scope="module")
def simulated():
    return ho.datasets.perturbations_simulated(n_singles=30, n_doubles=30, n_genes=300, n_cells=150, n_contexts=2)


@pytest.fixture(scope="module")
def bulk(simulated):
    """Pseudobulk of the log-normalised cells, (line × perturbation × gene), and its standard error."""
    adata = simulated.copy()
    sc.pp.normalize_total(adata, target_sum=TARGET_SUM)
    sc.pp.log1p(adata)
    found = ho.get.pseudobulk(adata, ["cell_line", "perturbation"])
    truth = adata.uns["truth"]
    assert found.obs["perturbation"].tolist() == 2 * truth["perturbations"].tolist()
    error = np.sqrt(found.layers["var"] / found.obs["n_cells"].to_numpy()[:, None])
    return found.X.reshape(truth["profiles"].shape), error.reshape(truth["profiles"].shape)


def test_layout(simulated):
    adata, truth = simulated, simulated.uns["truth"]
    assert adata.shape == (2 * (60 * 150 + 750), 300)
    assert sparse.issparse(adata.X)
    assert adata.X.dtype == np.float32
    assert (adata.X.data == np.round(adata.X.data)).all()
    assert (adata.X.data > 0).all()
    assert adata.obs["perturbation"].value_counts().drop("control").unique().tolist() == [300]
    assert truth["profiles"].shape == (2, 61, 300)
    assert truth["effects"].shape == (2, 30, 300)
    assert truth["deviations"].shape == truth["kinds"].shape == (2, 30, 300)
    assert truth["genes"].tolist() == adata.var_names.tolist()
    singles = truth["perturbations"][1:31]
    assert set(singles) <= set(adata.var_names)
    for pair in truth["pairs"]:
        one, other = pair.split("+")
        assert {one, other} <= set(singles)
        assert one < other
    assert len(set(truth["pairs"])) == 30
    n_targets = adata.obs["perturbation"].astype(str).map(lambda name: 0 if name == "control" else name.count("+") + 1)
    assert adata.obs["n_targets"].tolist() == n_targets.tolist()


def test_guides_and_libraries_cut_across_perturbations(simulated):
    obs = simulated.obs
    for guide, name in obs[["guide", "perturbation"]].drop_duplicates().astype(str).itertuples(index=False):
        assert "+".join(part.rsplit("_", 1)[0] for part in guide.split("+")) == name
    assert (obs.groupby("perturbation", observed=True)["library"].nunique() == 2).all()
    counts = np.asarray(simulated.X.sum(axis=1)).ravel()
    depth = np.log([counts[(obs["library"] == name).to_numpy()].mean() for name in ("library1", "library2")])
    assert abs(depth[0] - depth[1]) > 0.02


def test_cells_have_the_expected_profiles(simulated, bulk):
    mean, error = bulk
    off = mean - simulated.uns["truth"]["profiles"]
    z = off / np.maximum(error, 2e-3)
    assert 0.95 < z.std() < 1.1
    assert abs(off.mean()) < 0.005
    for low, high in ((0, 1), (1, 2), (2, 3), (3, 9)):  # nor is it off at any level
        at = (simulated.uns["truth"]["profiles"] > low) & (simulated.uns["truth"]["profiles"] <= high)
        assert abs(off[at].mean()) < 0.01


def test_pairs_deviate_where_they_should(simulated, bulk):
    mean, error = bulk
    truth, singles = simulated.uns["truth"], list(simulated.uns["truth"]["perturbations"][1:31])
    members = np.array([[singles.index(part) for part in pair.split("+")] for pair in truth["pairs"]])
    a, b = mean[:, 1 + members[:, 0]], mean[:, 1 + members[:, 1]]
    deviation = mean[:, 31:] - a - b + mean[:, :1]
    e = error**2
    noise = np.sqrt(e[:, 31:] + e[:, 1 + members[:, 0]] + e[:, 1 + members[:, 1]] + e[:, :1])
    assert 0.95 < ((deviation - truth["deviations"]) / np.maximum(noise, 4e-3)).std() < 1.1
    interacting = truth["kinds"] > 0
    assert np.corrcoef(deviation[interacting], truth["deviations"][interacting])[0, 1] > 0.95
    assert abs((deviation - truth["deviations"])[~interacting].mean()) < 0.01  # all share the noise of the control


def test_kinds_are_what_they_are_called(simulated):
    truth = simulated.uns["truth"]
    singles = list(truth["perturbations"][1:31])
    members = np.array([[singles.index(part) for part in pair.split("+")] for pair in truth["pairs"]])
    a, b = truth["effects"][:, members[:, 0]], truth["effects"][:, members[:, 1]]
    effect, additive = truth["profiles"][:, 31:] - truth["profiles"][:, :1], a + b
    ratio = effect / additive
    assert truth["kind_names"].tolist() == ["additive", "buffering", "synergistic", "opposite"]
    slack = 0.3  # counts are shared out among genes, which moves all of them a little
    for kind, low, high in ((1, 0, 0.4), (2, 1, np.inf), (3, -np.inf, 0)):
        at = truth["kinds"] == kind
        assert at.sum() > 50
        assert ((a * b)[at] > 0).all()
        assert (ratio[at] > low - slack).all()
        assert (ratio[at] < high + slack).all()
        assert (np.sign(truth["deviations"][at]) == (1 if kind == 2 else -1) * np.sign(additive[at])).all()
    assert np.abs(truth["deviations"][truth["kinds"] == 0]).max() < 0.1
    assert np.abs(truth["deviations"][truth["kinds"] > 0]).min() > 0.1
    of_pair = [np.unique(k[k > 0]) for k in truth["kinds"].transpose(1, 0, 2)]
    assert all(len(kinds) <= 1 for kinds in of_pair)
    assert sum(len(kinds) for kinds in of_pair) == 15


def test_the_embedding_explains_effects_of_unseen_singles():
    def share(**arguments):
        adata = ho.datasets.perturbation_profiles_simulated(
            n_singles=100, n_doubles=0, n_genes=400, noise=0.05, **arguments
        )
        change = adata.X[1:] - adata.X[0]
        genes = adata.var_names.get_indexer(adata.obs["perturbation"][1:])
        G, P = adata.varm["true_embedding"], adata.varm["true_embedding"][genes]
        train, test = slice(0, 80), slice(80, 100)
        b = change[train].mean(axis=0)
        W = np.linalg.pinv(G) @ (change[train] - b).T @ np.linalg.pinv(P[train]).T
        return 1 - ((change[test] - b - (G @ W @ P[test].T).T) ** 2).sum() / ((change[test] - b) ** 2).sum()

    assert share(embedding_share=0.8) > share(embedding_share=0.4) > 0.1
    assert share(embedding_share=0) < 0.02


def test_a_shift_is_shared():
    def alike(strength):
        adata = ho.datasets.perturbation_profiles_simulated(n_doubles=0, noise=0, shift_strength=strength)
        r = np.corrcoef(adata.uns["truth"]["effects"][0])
        return r[np.triu_indices_from(r, 1)].mean()

    assert alike(2.0) > 0.4 > alike(0.0)


def test_contexts_share_effects_in_part():
    def alike(share):
        adata = ho.datasets.perturbation_profiles_simulated(n_doubles=0, n_contexts=2, noise=0, context_share=share)
        one, other = adata.uns["truth"]["effects"]
        return np.corrcoef(one.ravel(), other.ravel())[0, 1]

    assert alike(1.0) > 0.85 > alike(0.6) > alike(0.0)
    lines = ho.datasets.perturbation_profiles_simulated(n_contexts=2, noise=0).uns["truth"]["profiles"][:, 0]
    assert np.abs(lines[0] - lines[1]).mean() > 0.1


def test_strengths_switch_off():
    none = ho.datasets.perturbation_profiles_simulated(noise=0, effect_strength=0).uns["truth"]
    assert np.abs(none["effects"]).max() < 1e-3
    additive = ho.datasets.perturbation_profiles_simulated(noise=0, interaction_strength=0).uns["truth"]
    assert (additive["kinds"] == 0).all()
    assert np.abs(additive["deviations"]).max() < 0.1
    strong = ho.datasets.perturbation_profiles_simulated(
        noise=0, effect_strength=10, shift_strength=10, interaction_strength=10
    )
    assert np.isfinite(strong.X).all()
    assert (strong.X > 0).all()


def test_profiles_have_the_same_truth_and_the_noise_they_say():
    cells = ho.datasets.perturbations_simulated(n_cells=2, rng=3)
    one = ho.datasets.perturbation_profiles_simulated(noise=0.1, rng=3)
    for name in ("profiles", "deviations", "kinds"):
        np.testing.assert_array_equal(cells.uns["truth"][name], one.uns["truth"][name])
    off = one.X - one.uns["truth"]["profiles"][0]
    assert off[1:].std() == pytest.approx(0.1, rel=0.05)
    assert off[0].std() == pytest.approx(0.1 / np.sqrt(5), rel=0.2)
    np.testing.assert_allclose(np.sqrt(one.layers["var"][1:] / one.obs["n_cells"].to_numpy()[1:, None]), 0.1)


def test_a_seed_gives_the_same_screen_and_another_one_another():
    first, again, other = (ho.datasets.perturbations_simulated(n_cells=3, rng=seed) for seed in (1, 1, 2))
    assert (first.X != again.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    more = ho.datasets.perturbations_simulated(n_cells=5, rng=1)
    np.testing.assert_array_equal(first.uns["truth"]["profiles"], more.uns["truth"]["profiles"])


def test_it_is_stored(through_file):
    adata = ho.datasets.perturbations_simulated(n_cells=2, n_contexts=2)
    again = through_file(adata)
    np.testing.assert_array_equal(again.uns["truth"]["kinds"], adata.uns["truth"]["kinds"])
    assert list(again.uns["truth"]["perturbations"]) == list(adata.uns["truth"]["perturbations"])


def test_it_can_be_split():
    adata = ho.datasets.perturbations_simulated(n_cells=5)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", n_seen=2)
    assert set(adata.obs["split"]) == {"train", "val", "test"}


def test_level_and_rate_are_inverse_and_right():
    depths = Depths(COUNTS_PER_GENE * 300 * np.array([0.8, 1.2]))
    rate = np.geomspace(1e-6, 0.2, 50)
    np.testing.assert_allclose(depths.rate(depths.level(rate)), rate, rtol=1e-4)
    rng = np.random.default_rng(0)
    n = 200_000
    depth = depths.of_library[rng.integers(2, size=n)] * rng.lognormal(0, DEPTH_SD, n)
    for r in (1e-4, 3e-3, 0.05):
        counts = rng.poisson(r * depth * rng.standard_gamma(1 / DISPERSION, n) * DISPERSION)
        drawn = np.log1p(TARGET_SUM * counts / depth)
        assert drawn.mean() == pytest.approx(float(depths.level(np.array(r))), abs=5 * drawn.std() / np.sqrt(n))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_genes": 20}, "n_genes=20"),
        ({"n_singles": 1}, "n_singles=1"),
        ({"n_singles": 60, "n_genes": 60}, "three quarters"),
        ({"n_singles": 4, "n_doubles": 7}, "6 pairs"),
        ({"n_contexts": 0}, "n_contexts=0"),
        ({"interacting": 1.5}, "interacting=1.5"),
        ({"embedding_share": -0.1}, "embedding_share"),
        ({"effect_strength": 11}, "effect_strength=11"),
        ({"rng": "seed"}, "rng='seed'"),
    ],
)
def test_what_cannot_be_simulated_is_refused(arguments, words):
    for simulate in (ho.datasets.perturbations_simulated, ho.datasets.perturbation_profiles_simulated):
        with pytest.raises(ValueError, match=words):
            simulate(**arguments)


@pytest.mark.parametrize("name", ["n_cells", "n_control", "n_guides", "n_libraries"])
def test_numbers_of_cells_are_checked(name):
    with pytest.raises(ValueError, match=f"{name}=0"):
        ho.datasets.perturbations_simulated(**{name: 0})


def test_noise_is_checked():
    with pytest.raises(ValueError, match="noise=-1"):
        ho.datasets.perturbation_profiles_simulated(noise=-1)
