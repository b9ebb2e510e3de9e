"""``tl.perturbation`` and ``tl.predict``: what comes out, and what is refused."""

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from tests.helpers.perturbations import brute_means, combinations, contexts, exact, simulated


@pytest.fixture(scope="module")
def _screen():
    adata = combinations(n_doubles=40)
    ho.tl.perturbation(adata, method="additive")
    return adata


@pytest.fixture
def screen(_screen):
    return _screen.copy()


def test_predicted_profiles_carry_names_and_what_was_seen(screen):
    predicted = ho.tl.predict_profiles(screen, "perturbation")
    assert predicted.var_names.equals(screen.var_names)
    test = screen.obs.loc[screen.obs["split"] == "test", "perturbation"].astype(str)
    assert sorted(predicted.obs["perturbation"]) == sorted(set(test) - {"control"})
    assert (predicted.obs["n_targets"] == 2).all()
    assert (predicted.obs["n_seen"] == 2).all()
    assert predicted.obs["predicted"].all()
    assert not predicted.obs["fallback"].any()
    start = brute_means(screen, (screen.obs["split"] == "train").to_numpy())["control"]
    np.testing.assert_allclose(
        predicted.X - predicted.layers["change"], np.tile(start, (predicted.n_obs, 1)), atol=1e-5
    )
    assert predicted.uns["heldout"]["predicted"]["method"] == "perturbation.additive"


def test_names_are_sets_of_targets(screen):
    singles = [n for n in screen.obs["perturbation"].cat.categories if "+" not in n and n != "control"][:3]
    a, b, c = singles
    predicted = ho.tl.predict_profiles(
        screen, "perturbation", perturbations=[f"{b}+{a}", f"{a}+{b}", f"{a}+control", f"{a}+{b}+{c}"]
    )
    assert predicted.obs["perturbation"].tolist() == ["+".join(sorted((a, b))), a, "+".join(sorted((a, b, c)))]
    change = dict(zip(predicted.obs["perturbation"], predicted.layers["change"], strict=True))
    alone = ho.tl.predict_profiles(screen, "perturbation", perturbations=singles).layers["change"]
    np.testing.assert_allclose(change["+".join(sorted((a, b, c)))], alone.sum(axis=0), atol=1e-5)
    assert predicted.obs["n_targets"].tolist() == [2, 1, 3]


def test_what_cannot_be_predicted_is_a_row_of_nan_that_is_counted(screen, caplog):
    ho.tl.perturbation(screen, method="linear", key_added="linear")
    known = screen.var_names[0]
    with caplog.at_level("WARNING", logger="heldout"):
        predicted = ho.tl.predict_profiles(screen, "linear", perturbations=["NOT_A_GENE", f"{known}+NOT_A_GENE", known])
    assert predicted.obs["predicted"].tolist() == [False, False, True]
    assert np.isnan(predicted.X).all(axis=1).tolist() == [True, True, False]
    assert "2 of 3 perturbations" in caplog.text
    assert "NaN" in caplog.text


def test_a_stand_in_is_flagged_and_counted(screen, caplog):
    with caplog.at_level("WARNING", logger="heldout"):
        predicted = ho.tl.predict_profiles(screen, "perturbation", perturbations=["NEW"])
    assert predicted.obs["fallback"].tolist() == [True]
    assert "use a fallback" in caplog.text
    singles = brute_means(screen, (screen.obs["split"] == "train").to_numpy())
    mean = np.mean(
        [v - singles["control"] for name, v in singles.items() if "+" not in name and name != "control"], axis=0
    )
    np.testing.assert_allclose(predicted.layers["change"][0], mean, atol=1e-5)


def test_a_slip_in_a_name_is_said(screen, caplog):
    name = next(n for n in screen.obs["perturbation"].cat.categories if "+" not in n and n != "control")
    with caplog.at_level("WARNING", logger="heldout"):
        ho.tl.predict_profiles(screen, "perturbation", perturbations=[name + "X"])
    assert f"Did you mean '{name}'" in caplog.text


def test_a_name_that_is_neither_perturbed_nor_a_gene_is_said(screen, caplog):
    with caplog.at_level("WARNING", logger="heldout"):
        ho.tl.predict_profiles(screen, "perturbation", perturbations=["NOTAGENE"])
    assert "'NOTAGENE' was never perturbed in train and is not a gene of the fit" in caplog.text
    caplog.clear()
    known = [n for n in screen.obs.loc[screen.obs["split"] == "train", "perturbation"].unique() if n != "control"]
    with caplog.at_level("WARNING", logger="heldout"):
        ho.tl.predict_profiles(screen, "perturbation", perturbations=[known[0]])
    assert "never perturbed" not in caplog.text


def test_genes_of_another_case_are_found():
    adata = combinations()
    adata.var_names = [name.lower() for name in adata.var_names]
    ho.tl.perturbation(adata, method="linear")
    assert ho.tl.predict_profiles(adata, "perturbation").obs["predicted"].all()


def test_other_data_keep_their_own_controls(screen):
    other = simulated(rng=3)
    predicted = ho.tl.predict_profiles(other, "perturbation", perturbations=["NEW"], reference=screen)
    own = brute_means(other, np.ones(other.n_obs, dtype=bool))["control"]
    np.testing.assert_allclose(predicted.X[0] - predicted.layers["change"][0], own, atol=1e-5)
    with pytest.raises(ValueError, match="Name the perturbations to predict"):
        ho.tl.predict_profiles(other, "perturbation", reference=screen)
    treated = other[other.obs["perturbation"] != "control"].copy()
    with pytest.raises(ValueError, match="no control cells"):
        ho.tl.predict_profiles(treated, "perturbation", perturbations=["NEW"], reference=screen)


def test_contexts_are_rows():
    adata = contexts()
    ho.tl.perturbation(adata, method="transfer")
    single = next(n for n in adata.obs["perturbation"].cat.categories if n != "control")
    predicted = ho.tl.predict_profiles(adata, "perturbation", perturbations=[single])
    lines = adata.obs["cell_line"].astype(str).unique()
    assert sorted(predicted.obs["cell_line"]) == sorted(lines)
    one = ho.tl.predict_profiles(adata, "perturbation", perturbations=[single], contexts=[lines[0]])
    assert one.obs["cell_line"].tolist() == [lines[0]]
    with pytest.raises(ValueError, match="not a context of"):
        ho.tl.predict_profiles(adata, "perturbation", perturbations=[single], contexts=["HeLa"])


def test_guides_share_their_target():
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=6) for name in ("A_1", "A_2", "B_1")}
    adata, _ = exact(effects, {})
    targets = {"A_1": "A", "A_2": "A", "B_1": "B", "control": "control"}
    ho.pp.split_assigned(adata, "guide", train=["control", "A_1", "A_2", "B_1"], test=[], val=[])
    ho.tl.perturbation(adata, "guide", targets=targets, method="additive")
    predicted = ho.tl.predict_profiles(adata, "perturbation", perturbations=["A_1+B_1", "A+B"])
    assert predicted.obs["guide"].tolist() == ["A+B"]
    np.testing.assert_allclose(
        predicted.layers["change"][0], (effects["A_1"] + effects["A_2"]) / 2 + effects["B_1"], atol=1e-5
    )


def test_one_cell_a_perturbation_is_enough_to_fit():
    adata = combinations(n_cells=1, n_control=40)
    for method in ("additive", "latent_additive", "informed_additive", "linear"):
        ho.tl.perturbation(adata, method=method)
        assert np.isfinite(ho.tl.predict_profiles(adata, "perturbation").X).all()
    table = ho.tl.evaluate(adata, "perturbation", n_bootstrap=20)
    rows = table[table["role"] == "model"].set_index("metric")["estimate"]
    assert np.isfinite(rows["l2"])
    assert np.isnan(rows["deg_recall"])


def test_a_split_of_donors_will_do(caplog):
    """Any split with controls in train; the controls of train stand in where test has none of its own."""
    adata = simulated(n_cells=60)
    control = adata.obs["perturbation"] == "control"
    adata.obs["donor"] = np.where(control, "d0", np.where(np.arange(adata.n_obs) % 2, "d1", "d2"))
    ho.pp.split_assigned(adata, "donor", train=["d0", "d1"], test=["d2"])
    ho.tl.perturbation(adata, "perturbation", method="transfer")
    with caplog.at_level("WARNING", logger="heldout"):
        table = ho.tl.evaluate(adata, "perturbation", n_bootstrap=20)
    assert "share their noise" in caplog.text
    estimates = table[table["metric"] == "discrimination"].set_index("method")["estimate"]
    assert estimates["transfer"] > 0.75
    assert estimates["mean"] < 0.6


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        (lambda a: a.X.data.__setitem__(slice(None), np.ceil(a.X.data)), {}, ["raw counts", "log1p"]),
        (lambda a: a.X.data.__setitem__(slice(None), np.expm1(a.X.data)), {}, ["not logged", "log1p"]),
        (lambda a: a.X.data.__isub__(9), {}, ["below zero", "layer"]),
        (lambda a: a.X.data.__setitem__(3, np.nan), {}, ["NaN"]),
        (lambda a: None, {"method": "aditive"}, ["aditive", "additive"]),
        (lambda a: None, {"control": "ctrl"}, ["control", "ctrl", "split"]),
        (lambda a: None, {"perturbation_key": "guide"}, ["perturbation_key", "guide", "perturbation"]),
        (lambda a: None, {"covariate_keys": "library"}, ["covariate_keys", "library"]),
        (lambda a: None, {"layer": "logs"}, ["layer", "logs"]),
        (lambda a: None, {"split_key": "folds"}, ["folds"]),
        (
            lambda a: None,
            {"config": ho.model.LinearConfig(perturbation_embedding="esm"), "method": "linear"},
            ["esm", "pp.embedding"],
        ),
    ],
)
def test_refused(screen, refuses, spoil, arguments, words):
    spoil(screen)
    refuses(lambda a: ho.tl.perturbation(a, key_added="new", **arguments), screen, *words)


def test_controls_missing_from_a_context_are_named(refuses):
    adata = contexts()
    line = adata.obs["cell_line"].astype(str)
    gone = (adata.obs["perturbation"] == "control") & (line == line.iloc[0]) & (adata.obs["split"] == "train")
    refuses(lambda a: ho.tl.perturbation(a), adata[~gone].copy(), "no control cells", line.iloc[0])


def test_no_single_to_add_up(refuses):
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=6) for name in "ABC"}
    adata, _ = exact(effects, {("A", "B"): 0.0, ("B", "C"): 0.0})
    adata = adata[adata.obs["guide"].isin(["control", "A+B", "B+C"])].copy()
    ho.pp.split_assigned(adata, "guide", train=["control", "A+B"], test=["B+C"])
    refuses(lambda a: ho.tl.perturbation(a, "guide", method="additive"), adata, "single target", "latent_additive")


def test_predict_refuses(screen):
    for given, words in (
        ({"perturbations": ["control"]}, "is a control"),
        ({"perturbations": []}, "empty"),
        ({"perturbations": ["A++B"]}, "empty part"),
    ):
        with pytest.raises(ValueError, match=words):
            ho.tl.predict_profiles(screen, "perturbation", **given)


def test_predicted_perturbations_are_for_their_wing(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    ho.tl.genotype(lmna, method="majority")
    with pytest.raises(TypeError, match="no option 'perturbations'. Use heldout.tl.predict_profiles"):
        ho.tl.predict(lmna, "genotype", perturbations=["A"])
    with pytest.raises(ValueError, match=r"Call heldout.tl.predict\(adata, 'genotype'\)"):
        ho.tl.predict_profiles(lmna, "genotype", perturbations=["A"])


def test_nothing_but_the_fit_is_written(screen):
    before = {slot: list(getattr(screen, slot)) for slot in ("obs", "var", "obsm", "varm", "layers")}
    ho.tl.perturbation(screen, key_added="new")
    assert before == {slot: list(getattr(screen, slot)) for slot in before}
    assert isinstance(ho.get.fits(screen), pd.DataFrame)
    assert "new" in ho.get.fits(screen).index
