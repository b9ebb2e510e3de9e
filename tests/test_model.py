"""GenotypeClassifier: the scvi-tools life cycle, with the state in the AnnData."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from scvi.model.base import BaseModelClass
from scvi.module.base import BaseModuleClass

import heldout as ho

CONFIG = ho.model.MLPConfig(n_hidden=16, max_epochs=3, batch_size=64)


@pytest.fixture
def adata():
    adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=120)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.highly_variable_genes(adata, n_top_genes=50)
    ho.pp.scale(adata)
    return adata


def trained(adata, **setup):
    ho.model.GenotypeClassifier.setup_anndata(adata, label_key="genotype", **setup)
    model = ho.model.GenotypeClassifier(adata, CONFIG)
    model.train()
    return model


def test_life_cycle_equals_tl_genotype(adata):
    other = adata.copy()
    model = trained(adata, auxiliary_key="day")
    assert isinstance(model, BaseModelClass)
    assert isinstance(model.module, BaseModuleClass)
    assert set(model.history) >= {"train_loss", "val_loss", "val_auc", "train_auxiliary_loss"}
    for indices, partition in (
        (model.train_indices, "train"),
        (model.validation_indices, "val"),
        (model.test_indices, "test"),
    ):
        np.testing.assert_array_equal(indices, np.flatnonzero(adata.obs["split"] == partition))
    ho.tl.genotype(other, auxiliary_key="day", config=CONFIG)
    np.testing.assert_array_equal(
        model.predict()["patient"].to_numpy(), np.exp(other.obsm["genotype_log_probability"])[:, 1]
    )
    assert not any(name.startswith("_scvi") for name in [*other.obs, *other.uns]), "tl.genotype leaves no scvi keys"


def test_to_adata_and_from_adata(adata, tmp_path):
    import anndata as ad

    model = trained(adata)
    expected = model.predict()
    model.to_adata(adata, "mine")
    adata.write_h5ad(tmp_path / "model.h5ad")
    again = ho.model.GenotypeClassifier.from_adata(ad.read_h5ad(tmp_path / "model.h5ad"), "mine")
    np.testing.assert_array_equal(again.predict(), expected)
    assert len(again.history["val_auc"]) == 3
    assert "50 genes" in repr(again) or "50 genes" in again._model_summary_string
    ho.tl.predict(adata, "mine")
    np.testing.assert_array_equal(np.exp(adata.obsm["mine_log_probability"]), expected)


def test_a_fit_of_tl_genotype_becomes_a_model(adata):
    ho.tl.genotype(adata, auxiliary_key="day", config=CONFIG)
    model = ho.model.GenotypeClassifier.from_adata(adata)
    np.testing.assert_array_equal(model.predict(), np.exp(adata.obsm["genotype_log_probability"]))
    ho.tl.genotype(adata, method="logistic", key_added="linear")
    with pytest.raises(ValueError, match="'linear' is a genotype.logistic, not a network"):
        ho.model.GenotypeClassifier.from_adata(adata, "linear")


def test_no_pickle(adata, tmp_path):
    model = trained(adata)
    with pytest.raises(TypeError, match="to_adata"):
        model.save(tmp_path)
    for name in ("load", "load_registry", "convert_legacy_save"):
        with pytest.raises(TypeError, match="from_adata"):
            getattr(ho.model.GenotypeClassifier, name)(tmp_path)


def test_untrained_and_wrong_split(adata):
    ho.model.GenotypeClassifier.setup_anndata(adata, label_key="genotype")
    model = ho.model.GenotypeClassifier(adata, CONFIG)
    for verb in (model.predict, lambda: model.to_adata(adata)):
        with pytest.raises(ValueError, match="not trained"):
            verb()
    model.train(max_epochs=1)
    assert len(model.history["train_loss"]) == 1
    other = adata.copy()
    ho.pp.split_matched(other, "library", "day", label_key="genotype", test=16, val=0)
    with pytest.raises(ValueError, match="Make the split again|another split"):
        model.to_adata(other)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_layers": 0}, "MLPConfig: n_layers=0 must be an integer >= 1"),
        ({"n_layers": True}, "n_layers=True must be an integer >= 1"),
        ({"lr": True}, "lr=True must be a number > 0"),
        ({"lr": "x"}, "lr='x' must be a number > 0"),
        ({"n_hidden": 2.5}, "n_hidden=2.5 must be an integer >= 1"),
        ({"dropout": 1.0}, r"dropout=1.0 must be a number in \[0, 1\)"),
        ({"activation": "gelu"}, "activation='gelu' must be one of 'relu', 'tanh'"),
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs' must be one of 'adam', 'sgd'"),
        ({"batch_size": 1}, "batch_size=1 must be an integer >= 2: batch norm needs two"),
        ({"alpha": -1.0}, "alpha=-1.0 must be a number >= 0"),
        ({"lr": 0.0}, "lr=0.0 must be a number > 0"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        ho.model.MLPConfig(**options)
