"""Baselines on groups, and the networks beyond Model A and B, each against what it should equal or must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.neighbors import NearestCentroid

import heldout as ho
from heldout.model import AttentionConfig, MLPConfig
from heldout.tasks.genotype.config import BoostingConfig
from heldout.tasks.genotype.group_baselines import PseudobulkBoosting
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.networks._attention import Attention
from heldout.tasks.genotype.networks._attention_module import AttentionModule
from heldout.tasks.genotype.networks._batches import Bags, BalancedBlocks, WholeGroups
from heldout.tasks.genotype.networks._method import MLP
from heldout.tasks.genotype.networks._module import GenotypeModule

SMALL = MLPConfig(n_hidden=16, max_epochs=3, batch_size=64)


@pytest.fixture
def means(split):
    """Profiles of the train libraries of the simulation, and their classes."""
    X = split.X.toarray()
    train = split.obs["split"] == "train"
    names = sorted(split.obs.loc[train, "library"].astype(str).unique())
    profiles = np.stack([X[(split.obs["library"] == name).to_numpy()].mean(axis=0) for name in names])
    sick = np.array([split.obs.loc[split.obs["library"] == name, "genotype"].iloc[0] == "patient" for name in names])
    return profiles, sick.astype(int)


def cells_with_an_effect(seed: int = 0, n_groups: int = 24, n: int = 30, n_genes: int = 20, share: float = 1.0):
    """Data of groups of which a share of the cells of the sick ones is shifted in two genes; the last third is new."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n)
    labels = groups % 2
    X = rng.normal(size=(len(groups), n_genes)).astype(np.float32)
    hit = (labels == 1) & (rng.random(len(groups)) < share)
    X[hit, :2] += 2.0
    rows = [np.flatnonzero(np.isin(groups, part)) for part in np.array_split(np.arange(n_groups), 3)]
    return Data(X, labels, 2, rows[0], rows[1], groups=groups), rows[2]


def test_ridge_equals_scikit_learn(split, means):
    ho.tl.genotype(split, method="pseudobulk_ridge", mask_var=None)
    X, y = means
    scale = ((X - X.mean(axis=0)) ** 2).sum() / len(X)
    reference = RidgeClassifierCV(alphas=np.array([0.01, 0.03, 0.1, 0.3, 1, 3, 10]) * scale).fit(X, y)
    expected = expit(2 * reference.decision_function(split.X.toarray()))
    np.testing.assert_allclose(split.obs["genotype_probability"], expected, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has at least 1 zero")
def test_nearest_centroid_equals_scikit_learn(split, means):
    ho.tl.genotype(split, method="nearest_centroid", mask_var=None)
    expected = NearestCentroid().fit(*means).predict(split.X.toarray())
    assert ((split.obs["genotype_prediction"] == "patient").to_numpy() == expected).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_boosted_trees_kept_as_arrays_predict_what_scikit_learn_does(n_classes):
    rng = np.random.default_rng(0)
    X, groups = rng.normal(size=(120, 8)).astype(np.float32), np.arange(120)
    labels = groups % n_classes
    X[labels == 1, 0] += 1
    data = Data(X, labels, n_classes, np.arange(100), np.arange(0), groups=groups)
    config = BoostingConfig(n_trees=20, max_depth=3, max_features=1.0)
    method = PseudobulkBoosting()
    fitted = method.fit(data, config, seed=0)
    found = np.concatenate([method.predict(fitted, X[i : i + 1]) for i in range(100, 120)])
    reference = GradientBoostingClassifier(n_estimators=20, max_depth=3, max_features=1.0, random_state=0)
    expected = reference.fit(X[:100], labels[:100]).predict_log_proba(X[100:])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_composition_sees_cell_types_of_whole_groups_only(split):
    rng = np.random.default_rng(0)
    sick = (split.obs["genotype"] == "patient").to_numpy()
    split.obs["type"] = np.where(rng.random(split.n_obs) < np.where(sick, 0.8, 0.3), "a", "b")
    ho.tl.genotype(split, method="composition_logistic", cell_type_key="type", mask_var=None)
    assert split.obs.groupby("library", observed=True)["genotype_probability"].nunique().eq(1).all()
    names = split.obs["library"].cat.categories
    counts = np.stack([[((split.obs["library"] == n) & (split.obs["type"] == t)).sum() for t in "ab"] for n in names])
    logs = np.log(counts + 0.5)
    ratios = logs - logs.mean(axis=1, keepdims=True)
    of = {n: split.obs.loc[split.obs["library"] == n].iloc[0] for n in names}
    train = np.array([of[n]["split"] == "train" for n in names])
    y = np.array([of[n]["genotype"] == "patient" for n in names])
    expected = LogisticRegression(max_iter=1000).fit(ratios[train], y[train]).predict_proba(ratios)[:, 1]
    np.testing.assert_allclose([of[n]["genotype_probability"] for n in names], expected, rtol=1e-3)
    table = ho.tl.evaluate(split)
    assert {"covariate_logistic", "composition_logistic"} & set(table["method"]) == {
        "covariate_logistic",
        "composition_logistic",
    }


def test_the_day_alone_gives_the_label_away_under_the_mixed_split(lmna):
    train = [f"GSM83250{n}" for n in (46, 47, 48, 50, 51, 53, 55, 57)]
    ho.pp.split_assigned(
        lmna, "library", train=train, val=["GSM8325049", "GSM8325054"], test=["GSM8325052", "GSM8325056"]
    )
    ho.tl.genotype(lmna, method="covariate_logistic", covariate_keys=["day"])
    shown = lmna.obs.groupby("library", observed=True)["genotype_probability"].first()
    assert shown["GSM8325052"] > 0.5 > shown["GSM8325056"], "day 19 was a patient, day 16 a control in train"


def test_an_unseen_level_and_a_number():
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    adata.obs["age"] = np.random.default_rng(0).normal(50, 10, adata.n_obs)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    ho.tl.genotype(adata, method="covariate_logistic", covariate_keys=["day", "age"])
    fit = ho.get.fits(adata).loc["genotype"]
    assert fit["method"] == "genotype.covariate_logistic"
    ho.tl.genotype(adata, method="covariate_logistic", covariate_keys=["day"])
    assert adata.obs.loc[adata.obs["day"].isin([0, 19]), "genotype_probability"].nunique() == 1


def test_balanced_batches_draw_groups_evenly():
    groups = np.repeat([0, 1, 2, 3], [10, 200, 50, 40])
    labels = np.array([0, 0, 0, 1])[groups]
    X = np.arange(300.0)[:, None]
    blocks = BalancedBlocks(X, np.arange(300), {"labels": labels}, 50, seed=0, groups=groups)
    drawn = blocks.order()
    assert len(drawn) == 300
    np.testing.assert_allclose(np.bincount(groups[drawn]), [50, 50, 50, 150], atol=1)
    assert not np.array_equal(drawn, blocks.order())


def test_bags_are_of_one_group_and_classes_take_turns():
    groups = np.repeat([0, 1, 2, 3], [10, 30, 30, 5])
    labels = np.array([0, 0, 1, 1])[groups]
    X = groups[:, None].astype(np.float32)
    blocks = Bags(X, np.arange(75), {"labels": labels}, 8, 4, seed=0, groups=groups)
    drawn = [batch for block in blocks for batch in block]
    assert len(drawn) == 3, "as many cells as there are rows"
    for batch in drawn:
        for number in range(4):
            inside = batch["bag"] == number
            assert inside.sum() == 8
            assert len(set(batch["X"][inside, 0].tolist())) == 1
            assert set(batch["labels"][inside].tolist()) == {number % 2}
    whole = WholeGroups(X, np.arange(75), {"labels": labels}, 8, 4, seed=0, groups=groups)
    ((batch,),) = list(whole)
    assert np.bincount(batch["bag"]).tolist() == [10, 30, 30, 5]
    np.testing.assert_array_equal(batch["X"][:, 0], groups)
    assert len(whole) == len(blocks) == 1
    large = WholeGroups(
        np.zeros((9000, 1)),
        np.arange(9000),
        {"labels": np.arange(9000) // 4500},
        8,
        4,
        seed=0,
        groups=np.arange(9000) // 1500,
    )
    assert [len(batch["bag"]) for (batch,) in large] == [1500] * 6
    assert len(large) == 6


def test_attention_is_a_weighted_mean_that_forgets_the_order():
    torch.manual_seed(0)
    module = AttentionModule(5, 2, AttentionConfig(n_hidden=8, n_attention=4)).eval()
    h, bag = torch.randn(7, 8), torch.tensor([0, 0, 0, 1, 1, 1, 1])
    logits = module.pooled_logits(h, bag)
    for number in (0, 1):
        own = h[bag == number]
        score = module.weight(torch.tanh(module.content(own)) * torch.sigmoid(module.gate(own)))
        expected = module.label_head((torch.softmax(score, dim=0) * own).sum(dim=0))
        torch.testing.assert_close(logits[bag == number], expected.expand(int((bag == number).sum()), 1))
    order = torch.randperm(7)
    torch.testing.assert_close(module.pooled_logits(h[order], bag[order]), logits[order])


def test_attention_learns_from_groups_of_which_some_cells_are_hit():
    data, test = cells_with_an_effect(n_groups=36, n=40, share=0.3)
    config = AttentionConfig(n_hidden=16, n_attention=8, max_epochs=60, patience=60, batch_size=32, lr=3e-3)
    fitted = Attention().fit(data, config, seed=0)
    groups, labels = data.groups[test], data.labels[test]
    score = [Attention().predict(fitted, data.X[test][groups == g])[0, 1] for g in np.unique(groups)]
    own = [labels[groups == g][0] for g in np.unique(groups)]
    assert ho.metrics.auc_permutation(own, score).p_value < 0.01


def test_reversal_turns_the_gradient_of_the_day_around():
    batch = {"X": torch.randn(6, 4), "labels": torch.tensor([0, 1] * 3), "auxiliary": torch.tensor([0, 1, 2] * 2)}
    gradients = []
    for reversal in (False, True):
        torch.manual_seed(0)
        module = GenotypeModule(4, 2, MLPConfig(n_hidden=8, n_layers=1, dropout=0, reversal=reversal), n_auxiliary=3)
        module.alpha = 1.0
        _, _, loss = module(batch)
        (loss.loss - loss.extra_metrics["label_loss"]).backward(retain_graph=True)
        total = module.trunk[0].weight.grad.clone(), module.auxiliary_head.weight.grad.clone()
        module.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(
            module(batch)[1]["logits"][:, 0], batch["labels"].float()
        ).backward()
        gradients.append((total[0] - module.trunk[0].weight.grad, total[1]))
    torch.testing.assert_close(gradients[0][0], -gradients[1][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


def test_an_ensemble_is_the_mean_of_its_members(prepared_small):
    config = MLPConfig(n_hidden=16, max_epochs=2, batch_size=64, n_members=2)
    ho.tl.genotype(prepared_small, config=config, rng=3, key_added="both")
    history = ho.get.history(prepared_small, "both")
    assert history["member"].tolist() == [0, 0, 1, 1]
    data_fit = ho.model.GenotypeClassifier.from_adata(prepared_small, "both")
    assert len(data_fit.members_) == 2
    np.testing.assert_allclose(data_fit.predict()["patient"], prepared_small.obs["both_probability"], atol=1e-6)
    ho.tl.genotype(prepared_small, config=MLPConfig(n_hidden=16, max_epochs=2, batch_size=64), rng=3, key_added="one")
    X = torch.from_numpy(prepared_small.X.toarray())
    with torch.inference_mode():
        first, second = (m.log_probability(m.logits_of(m.trunk(X))).exp().numpy()[:, 1] for m in data_fit.members_)
    np.testing.assert_allclose(first, prepared_small.obs["one_probability"], atol=1e-5)
    np.testing.assert_allclose((first + second) / 2, prepared_small.obs["both_probability"], atol=1e-5)


@pytest.fixture
def prepared_small(split):
    """The simulation on a log scale."""
    import scanpy as sc

    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    return split


METHODS = [
    ("mlp", MLPConfig(n_hidden=8, max_epochs=2, balanced=True, reversal=True), {"auxiliary_key": "day"}),
    ("attention", AttentionConfig(n_hidden=8, n_attention=4, max_epochs=2, batch_size=16), {"auxiliary_key": "day"}),
    ("nearest_centroid", None, {}),
    ("pseudobulk_ridge", None, {}),
    ("pseudobulk_boosting", BoostingConfig(n_trees=5), {}),
    ("covariate_logistic", None, {"covariate_keys": ["day"]}),
    ("composition_logistic", None, {"cell_type_key": "type"}),
]


@pytest.mark.parametrize(("method", "config", "options"), METHODS, ids=[name for name, *_ in METHODS])
def test_every_method_predicts_again_from_a_file(prepared_small, through_file, method, config, options):
    prepared_small.obs["type"] = np.where(np.arange(prepared_small.n_obs) % 3, "a", "b")
    ho.tl.genotype(prepared_small, method=method, config=config, **options)
    before = prepared_small.obsm["genotype_log_probability"].copy()
    np.testing.assert_allclose(np.exp(before).sum(axis=1), 1, rtol=1e-5)
    again = through_file(prepared_small)
    ho.tl.predict(again)
    np.testing.assert_array_equal(again.obsm["genotype_log_probability"], before)
    table = ho.tl.evaluate(again, baselines=["majority"])
    assert table.query("role == 'model' and metric == 'loss'")["estimate"].notna().all()


@pytest.mark.parametrize("config", [SMALL, AttentionConfig(n_hidden=8, max_epochs=2, batch_size=16)])
def test_the_class_of_the_options_chooses_the_network(prepared_small, config):
    ho.model.GenotypeClassifier.setup_anndata(prepared_small)
    model = ho.model.GenotypeClassifier(prepared_small, config)
    model.train(rng=1)
    model.to_adata(prepared_small)
    method = "attention" if isinstance(config, AttentionConfig) else "mlp"
    assert ho.get.fits(prepared_small).loc["genotype", "method"] == f"genotype.{method}"
    ho.tl.genotype(prepared_small, method=method, config=config, rng=1, key_added="other")
    np.testing.assert_allclose(model.predict()["patient"], prepared_small.obs["other_probability"], atol=1e-6)


def test_bad_input(prepared_small, refuses):
    for options, words in (
        ({"method": "covariate_logistic"}, ("covariate_logistic needs covariates", "Pass covariate_keys")),
        ({"method": "composition_logistic"}, ("composition_logistic needs cell types", "Pass cell_type_key")),
        ({"covariate_keys": ["dya"]}, ("covariate_keys='dya' is not a column", "'day'")),
        ({"cell_type_key": "type"}, ("cell_type_key='type' is not a column",)),
    ):
        refuses(lambda a, o=options: ho.tl.genotype(a, **o), prepared_small, *words)
    with pytest.raises(TypeError, match="config must be a MLPConfig for method='mlp', got AttentionConfig"):
        ho.tl.genotype(prepared_small, method="mlp", config=AttentionConfig())
    for make, match in (
        (lambda: AttentionConfig(n_bags=0), "n_bags=0 must be an integer >= 1"),
        (lambda: MLPConfig(n_members=1.5), "n_members=1.5 must be an integer >= 1"),
        (lambda: BoostingConfig(max_features=2.0), r"max_features=2.0 must be a number in \(0, 1\]"),
        (lambda: ho.model.RidgeConfig(alphas=[]), "alphas=.* must be a sequence of one or more numbers > 0"),
    ):
        with pytest.raises(ValueError, match=match):
            make()


def test_cells_without_groups_have_no_groups_to_pool(prepared_small):
    ho.pp.split_cells(prepared_small)
    for method in ("pseudobulk_ridge", "nearest_centroid", "pseudobulk_boosting", "attention"):
        with pytest.raises(ValueError, match=f"{method} needs groups. Pass group_key"):
            ho.tl.genotype(prepared_small, method=method, mask_var=None)
    assert MLP.by_group is False
