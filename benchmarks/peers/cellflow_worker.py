"""Train CellFlow (cellflow-tools) on train cells and predict cells from train controls."""

from __future__ import annotations

import cellflow
import diffrax
import jax
import numpy as np
import optax
import pandas as pd
from exchange import CONTROL, KEY, SEPARATOR, Question, work
from sklearn.decomposition import PCA

N_CELLS = 200
NONE = "none"


def _columns(names: list[str]) -> pd.DataFrame:
    """The first and the second target of each perturbation, in columns."""
    members = [[] if name == CONTROL else name.split(SEPARATOR) for name in names]
    padded = [(found + [NONE, NONE])[:2] for found in members]
    frame = pd.DataFrame(padded, columns=["target1", "target2"]).astype("category")
    categories = sorted({*frame["target1"], *frame["target2"]})
    frame = frame.apply(lambda column: column.cat.set_categories(categories))
    return frame.assign(control=[not found for found in members])


def _representations(question: Question) -> dict[str, np.ndarray]:
    """A vector of each target: that of the question, or else one-hot. "none" is the null value, which is masked."""
    targets, vectors = question.targets, question.vectors
    if len(vectors):
        mean = vectors.mean().to_numpy()
        found = {name: vectors.loc[name].to_numpy() if name in vectors.index else mean for name in targets}
    else:
        found = dict(zip(targets, np.eye(len(targets)), strict=True))
    width = len(next(iter(found.values())))
    return {NONE: np.zeros(width, dtype=np.float32)} | {name: np.float32(row) for name, row in found.items()}


def answer(question: Question) -> dict[str, np.ndarray]:
    """Fit components on train cells, train the flow in them, and move train controls."""
    settings = question.settings
    cells = question.cells.copy()
    names = cells.obs[KEY].astype(str).tolist()
    columns = _columns(names).set_index(cells.obs_names)
    cells.obs = columns
    dense = np.asarray(cells.X.toarray())
    components = PCA(settings.get("n_comps", 50), random_state=0).fit(dense)
    cells.obsm["X_pca"] = components.transform(dense).astype(np.float32)
    cells.uns["targets"] = _representations(question)
    model = cellflow.model.CellFlow(cells, solver="otfm")
    model.prepare_data(
        sample_rep="X_pca",
        control_key="control",
        perturbation_covariates={"target": ("target1", "target2")},
        perturbation_covariate_reps={"target": "targets"},
    )
    options = {name: tuple(settings[name]) for name in ("hidden_dims", "decoder_dims", "time_encoder_dims")}
    model.prepare_model(
        condition_embedding_dim=settings["condition_embedding_dim"],
        time_freqs=settings["time_freqs"],
        optimizer=optax.MultiSteps(optax.adam(settings["learning_rate"]), settings["accumulate"]),
        seed=question.seed,
        **options,
    )
    np.random.seed(question.seed)  # noqa: NPY002
    model.train(num_iterations=settings["iterations"], batch_size=settings["batch_size"], valid_freq=10**9)
    controls = cells[cells.obs["control"].to_numpy(dtype=bool)].copy()
    rows = np.random.default_rng(question.seed).permutation(controls.n_obs)[:N_CELLS]
    controls = controls[rows].copy()
    wanted = _columns(question.wanted).assign(name=question.wanted, control=True)
    losses = model.trainer.training_logs["loss"]
    print("mean loss of each tenth:", [round(float(np.mean(part)), 3) for part in np.array_split(losses, 10)])
    tolerance = settings["tolerance"]
    steps = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    found = model.predict(controls, wanted, sample_rep="X_pca", condition_id_key="name", stepsize_controller=steps)
    return {name: components.inverse_transform(np.asarray(found[name])) for name in question.wanted}


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    work("cellflow-tools", answer)
