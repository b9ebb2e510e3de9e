"""Train GEARS (cell-gears) on train cells and predict profiles."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from exchange import CONTROL, KEY, SEPARATOR, Question, work
from gears import GEARS, PertData


def _condition(name: str) -> str:
    """Names of GEARS: ``"A+ctrl"``, ``"A+B"``, ``"ctrl"``."""
    if name == CONTROL:
        return "ctrl"
    return name if SEPARATOR in name else f"{name}+ctrl"


def _terms(question: Question) -> dict[str, set[str]]:
    """Annotations of all genes and targets. A gene without any gets a term of its own, which links it to no gene."""
    names = {*question.cells.var_names, *question.targets}
    return {name: set(question.terms.get(name) or [f"none:{name}"]) for name in sorted(names)}


def prepared(question: Question) -> PertData:
    """Cells, annotations and the split in the form of GEARS. Without these files it downloads others."""
    folder = Path("gears_data")
    for path in (folder, Path("data")):  # GEARS writes its graph of genes to ./data
        path.mkdir(exist_ok=True)
    terms = _terms(question)
    for name in ("gene2go_all.pkl", "gene2go.pkl"):
        (folder / name).write_bytes(pickle.dumps(terms))
    (folder / "genes.pkl").write_bytes(pickle.dumps(sorted(terms)))
    data = PertData(str(folder), gene_set_path=str(folder / "genes.pkl"), default_pert_graph=False)
    cells = question.cells.copy()
    cells.obs["condition"] = [_condition(name) for name in cells.obs[KEY].astype(str)]
    cells.obs["cell_type"] = "one"
    cells.var["gene_name"] = cells.var_names.to_numpy()
    data.new_data_process("screen", adata=cells)
    held_out = [_condition(name) for name in question.validation(question.settings.get("validation", 0.1))]
    train = [name for name in cells.obs["condition"].unique() if name not in held_out]
    data.prepare_split(split="no_test", seed=question.seed)
    data.set2conditions = {"train": train, "val": held_out}
    data.get_dataloader(batch_size=32, test_batch_size=128)
    return data


def answer(question: Question) -> dict[str, np.ndarray]:
    """Train with the documented settings and predict the mean profile of each perturbation."""
    np.random.seed(question.seed)  # noqa: NPY002 - GEARS draws from the global generator
    torch.manual_seed(question.seed)
    torch.set_num_threads(1)
    model = GEARS(prepared(question), device="cpu")
    model.model_initialize(hidden_size=64)
    model.train(epochs=question.settings.get("epochs", 20))
    predicted = model.predict([name.split(SEPARATOR) for name in question.wanted])
    return {name: predicted[name.replace(SEPARATOR, "_")] for name in question.wanted}


if __name__ == "__main__":
    work("cell-gears", answer)
