"""Train CPA (cpa-tools) on train cells, and predict from train controls with the label of each perturbation."""

from __future__ import annotations

import anndata as ad
import cpa
import numpy as np
import torch
from exchange import CONTROL, KEY, SEPARATOR, Question, work

N_CELLS = 200


def prepared(question: Question) -> ad.AnnData:
    """Train cells, and train controls under the names of the perturbations to predict, which are not trained on."""
    names = question.cells.obs[KEY].astype(str).to_numpy()
    rows = np.random.default_rng(question.seed).permutation(np.flatnonzero(names == CONTROL))[:N_CELLS]
    n = len(question.wanted)
    cells = ad.concat([question.cells, *[question.cells[rows] for _ in range(n)]], index_unique="-", keys=range(n + 1))
    cells.obs[KEY] = [*names, *np.repeat(question.wanted, len(rows))]
    held_out = question.validation(question.settings.get("validation", 0.1))
    parts = np.where(np.isin(names, held_out), "val", "train")
    cells.obs["part"] = [*parts, *["wanted"] * (n * len(rows))]
    cells.obs["cell_type"] = "one"
    cells.obs["smiles"] = [name.replace(SEPARATOR, "..") for name in cells.obs[KEY]]  # version 0.8.1 requires a text
    cells.X = np.asarray(cells.X.toarray(), dtype=np.float32)
    return cells


def answer(question: Question) -> dict[str, np.ndarray]:
    """Train with the adversarial task, which is the default."""
    torch.set_num_threads(1)
    cells, settings = prepared(question), question.settings
    cpa.CPA.setup_anndata(
        cells, perturbation_key=KEY, control_group=CONTROL, categorical_covariate_keys=["cell_type"],
        is_count_data=False, smiles_key="smiles", max_comb_len=2,
    )  # fmt: skip
    model = cpa.CPA(
        cells, split_key="part", train_split="train", valid_split="val", test_split="wanted",
        n_latent=settings["n_latent"], recon_loss="gauss", seed=question.seed,
    )  # fmt: skip
    model.train(
        max_epochs=settings["max_epochs"], batch_size=settings["batch_size"], use_gpu=False,
        early_stopping_patience=settings["patience"], check_val_every_n_epoch=5, save_path="cpa_model",
    )  # fmt: skip
    model.predict(cells, n_samples=1)
    names, parts = cells.obs[KEY].to_numpy(), cells.obs["part"].to_numpy()
    return {name: cells.obsm["CPA_pred"][(names == name) & (parts == "wanted")] for name in question.wanted}


if __name__ == "__main__":
    work("cpa-tools", answer)
