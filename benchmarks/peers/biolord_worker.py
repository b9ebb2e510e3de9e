"""Train biolord on train cells, with the targets of a cell as an ordered attribute, and predict from train controls."""

from __future__ import annotations

import biolord
import numpy as np
import torch
from exchange import CONTROL, KEY, SEPARATOR, Question, work
from lightning.pytorch import seed_everything

N_CELLS = 200


def _indicators(names: list[str], targets: list[str]) -> np.ndarray:
    """1 for each target of a perturbation, (names × targets); zeros for controls."""
    members = [set() if name == CONTROL else set(name.split(SEPARATOR)) for name in names]
    return np.array([[target in found for target in targets] for found in members], dtype=np.float32)


def answer(question: Question) -> dict[str, np.ndarray]:
    """Train with the default layers, and give train controls the targets of each perturbation."""
    seed_everything(question.seed)
    torch.set_num_threads(1)
    cells, targets, settings = question.cells.copy(), question.targets, question.settings
    names = cells.obs[KEY].astype(str)
    cells.obsm["targets"] = _indicators(names.tolist(), targets)
    held_out = question.validation(settings.get("validation", 0.1))
    cells.obs["part"] = np.where(names.isin(held_out), "val", "train")
    biolord.Biolord.setup_anndata(cells, ordered_attributes_keys=["targets"])
    cells.obs.loc[cells.obs_names[:1], "part"] = "unused"  # biolord refuses an empty third part
    model = biolord.Biolord(
        cells, module_params={}, n_latent=settings.get("n_latent", 128), split_key="part", train_split="train",
        valid_split="val", test_split="unused",
    )  # fmt: skip
    model.train(
        max_epochs=settings["max_epochs"], batch_size=settings["batch_size"], accelerator="cpu",
        early_stopping=True, early_stopping_patience=settings["patience"], enable_checkpointing=False,
        plan_kwargs={"attribute_nn_lr": 1e-4, "attribute_nn_wd": 1e-4},  # without these, version 0.0.3 fails
        logger=False, enable_progress_bar=False,
    )  # fmt: skip
    rows = np.random.default_rng(question.seed).permutation(np.flatnonzero(names == CONTROL))[:N_CELLS]
    controls = cells[rows].copy()
    predicted = {}
    for name in question.wanted:
        controls.obsm["targets"] = np.repeat(_indicators([name], targets), len(rows), axis=0)
        predicted[name] = np.asarray(model.predict(controls)[0].X)
    return predicted


if __name__ == "__main__":
    work("biolord", answer)
