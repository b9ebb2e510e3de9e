"""Batches are shared by processes, whatever a wing calls its arrays; the model classes train as those of scvi-tools."""

from __future__ import annotations

import inspect
import warnings
from types import SimpleNamespace

import lightning.pytorch
import numpy as np
import pytest
import scanpy as sc
import torch

import heldout as ho
from heldout._core.training_plan import share_of


def batch(n):
    return {"X": torch.arange(2.0 * n).reshape(n, 2), "times": torch.arange(n)}


def test_all_rows_but_those_that_cannot_be_shared_go_to_one_process():
    block = [batch(7), batch(3)]
    assert share_of(block, SimpleNamespace(world_size=1, global_rank=0)) is block
    shares = [share_of(block, SimpleNamespace(world_size=3, global_rank=rank)) for rank in range(3)]
    assert [len(share) for share in shares] == [1, 1, 1], "one row a process is too few for batch norm"
    rows = torch.cat([share[0]["times"] for share in shares]).tolist()
    assert rows == list(range(6))
    for (share,) in shares:
        torch.testing.assert_close(share["X"][:, 0], 2.0 * share["times"])


@pytest.fixture
def logged():
    adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def genotype(adata):
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    ho.model.GenotypeClassifier.setup_anndata(adata)
    return ho.model.GenotypeClassifier(adata, ho.model.MLPConfig(n_hidden=4, n_layers=1))


def cells(adata):
    ho.pp.split_time(adata, "day", test=30)
    ho.model.CellForecaster.setup_anndata(adata, "day")
    return ho.model.CellForecaster(adata, config=ho.model.FlowConfig(n_pairs=32, damping=1.0))


def genes(adata):
    ho.pp.split_genes(adata)
    ho.model.GeneForecaster.setup_anndata(adata, "day", n_replicates=2)
    return ho.model.GeneForecaster(adata, ho.model.GeneNetworkConfig(n_members=2))


@pytest.mark.parametrize("make", [genotype, cells, genes])
def test_train_takes_the_arguments_of_scvi_tools(logged, make):
    model = make(logged)
    assert list(inspect.signature(model.train).parameters)[:3] == ["max_epochs", "accelerator", "devices"]
    model.train(2, "cpu", 1)
    assert len(model.history_table_) == 2
    assert all(weights.device.type == "cpu" for weights in model.module.state_dict().values())
    by_position = {name: values.numpy().copy() for name, values in model.module.state_dict().items()}
    model.train(max_epochs=2, accelerator="cpu", devices=1, trainer_options={"enable_progress_bar": False})
    for name, values in model.module.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), by_position[name])
    if not torch.cuda.is_available():
        with pytest.raises(Exception, match="(?i)gpu|cuda") as caught:
            model.train(max_epochs=1, accelerator="gpu")
        assert not isinstance(caught.value, TypeError)


def test_a_network_on_the_cpu_is_silent_about_an_unused_gpu(logged, monkeypatch):
    found = "lightning.pytorch.trainer.setup.CUDAAccelerator.is_available"
    monkeypatch.setattr(found, staticmethod(lambda: True))
    with pytest.warns(UserWarning, match="GPU available but not used"):
        lightning.pytorch.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        genes(logged).train(max_epochs=1)
