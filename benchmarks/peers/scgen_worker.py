"""Train scGen, as pertpy has it, on train cells, and add up the changes of the members in its latent space.

scGen itself predicts a perturbation that was measured, in cells of another type. Here the change of a pair is the sum
of the changes of its members, as in the additive baseline. A member that was not measured alone gets the mean change.
"""

from __future__ import annotations

import numpy as np
import pertpy
from exchange import CONTROL, KEY, SEPARATOR, Question, work
from scvi import settings as scvi_settings

N_CELLS = 200


def answer(question: Question) -> dict[str, np.ndarray]:
    """Train with the default layers; move the latent controls and decode them."""
    scvi_settings.seed = question.seed
    cells, settings = question.cells.copy(), question.settings
    cells.obs["cell_type"] = "one"
    pertpy.tl.Scgen.setup_anndata(cells, batch_key=KEY, labels_key="cell_type")
    model = pertpy.tl.Scgen(cells)
    model.train(
        max_epochs=settings["max_epochs"], batch_size=settings["batch_size"], early_stopping=True,
        early_stopping_patience=settings["patience"], accelerator="cpu", enable_progress_bar=False,
    )  # fmt: skip
    latent, names = np.asarray(model.get_latent_representation(cells)), cells.obs[KEY].astype(str).to_numpy()
    start = latent[names == CONTROL]
    changes = {name: latent[names == name].mean(axis=0) - start.mean(axis=0) for name in sorted(set(names) - {CONTROL})}
    mean = np.mean(list(changes.values()), axis=0)
    start = start[np.random.default_rng(question.seed).permutation(len(start))[:N_CELLS]]
    decode = model.module.as_bound().generative
    return {
        name: np.asarray(decode(start + sum(changes.get(target, mean) for target in name.split(SEPARATOR)))["px"])
        for name in question.wanted
    }


if __name__ == "__main__":
    work("pertpy", answer)
