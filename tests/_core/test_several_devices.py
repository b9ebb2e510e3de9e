"""Two processes train one network: they take the same steps, and end where one process would."""

from __future__ import annotations

import runpy
import subprocess
import sys

import numpy as np
import pytest
import scanpy as sc

import heldout as ho

SCRIPT = """
import os, sys
import numpy as np, scanpy as sc
import heldout as ho

adata = ho.datasets.lmna_simulated(n_cells=40, n_genes=100)
ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
sc.pp.normalize_total(adata, target_sum=1e4)
sc.pp.log1p(adata)
ho.pp.scale(adata)
ho.model.GenotypeClassifier.setup_anndata(adata)
model = ho.model.GenotypeClassifier(
    adata, ho.model.MLPConfig(n_hidden=8, n_layers=1, dropout=0, max_epochs=4, batch_size=64)
)
devices = int(sys.argv[2])
small = ho.model.GenotypeClassifier(adata, ho.model.MLPConfig(batch_size=3, max_epochs=1))
if devices > 1:
    try:
        small.train(trainer_options={"accelerator": "cpu", "devices": devices, "strategy": "ddp"})
    except ValueError as problem:
        assert "2 devices cannot share batches of 3 train rows" in str(problem), problem
    else:
        raise AssertionError("batches too small to share were taken")
model.train(trainer_options={"accelerator": "cpu", "devices": devices, "strategy": "ddp" if devices > 1 else "auto"})
weights = {name: values.detach().numpy() for name, values in model.module.state_dict().items()}
course = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
sc.pp.normalize_total(course, target_sum=1e4)
sc.pp.log1p(course)
ho.pp.split_genes(course)
ho.model.GeneForecaster.setup_anndata(course, "day", n_replicates=4)
genes = ho.model.GeneForecaster(course, ho.model.GeneNetworkConfig(n_members=2, dropout=0))
genes.train(3, "cpu", devices, trainer_options={"strategy": "ddp" if devices > 1 else "auto"})
rank = os.environ.get("LOCAL_RANK", "0")
np.savez(
    f"{sys.argv[1]}/{devices}_{rank}.npz",
    history=model.history_table_["val_loss"].to_numpy(),
    predicted=model.predict().to_numpy(),
    genes=genes.predict()["change"].to_numpy(),
    genes_history=genes.history_table_["train_loss"].to_numpy(),
    **weights,
)
"""


def test_two_processes(tmp_path, monkeypatch):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path), "1"])
    runpy.run_path(str(script))
    python = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning"]
    ran = subprocess.run(
        [*python, "train.py", str(tmp_path), "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    one, first, second = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("1_0", "2_0", "2_1"))
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert len(first["history"]) == 4
    np.testing.assert_allclose(first["history"], one["history"], rtol=0.05)  # batch norm counts the rows of a process
    assert np.corrcoef(first["predicted"][:, 1], one["predicted"][:, 1])[0, 1] > 0.95
    for name in ("genes", "genes_history"):  # without batch norm the steps are the same
        np.testing.assert_allclose(first[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert not (tmp_path / "lightning_logs").exists()


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_processes_that_bring_nothing_back_are_refused(split, strategy):
    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    ho.model.GenotypeClassifier.setup_anndata(split)
    model = ho.model.GenotypeClassifier(split, ho.model.MLPConfig(max_epochs=1))
    with pytest.raises(ValueError, match=f"strategy='{strategy}' with devices=2 .* Use strategy='ddp' in a script"):
        model.train(trainer_options={"accelerator": "cpu", "devices": 2, "strategy": strategy})


def test_a_logger_of_the_user_is_kept_beside_the_history(split):
    from lightning.pytorch.loggers import Logger

    class Mine(Logger):
        name, version, seen = "mine", 0, ()

        def log_metrics(self, metrics, step=None):
            self.seen = (*self.seen, *metrics)

        def log_hyperparams(self, *_, **__):
            """There are none."""

    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    ho.model.GenotypeClassifier.setup_anndata(split)
    mine = Mine()
    for logger in (mine, [mine], False, True):
        model = ho.model.GenotypeClassifier(split, ho.model.MLPConfig(n_hidden=4, max_epochs=1))
        model.train(trainer_options={"accelerator": "cpu", "logger": logger})
        assert len(model.history_table_) == 1
    assert "train_loss" in mine.seen
