"""Files that carry train cells to a peer and its predictions back. This module imports nothing of heldout.

A worker is a script in this folder. It runs in the environment of its peer, reads a question (an ``.h5ad`` with train
cells and the perturbations to predict), and writes an answer (an ``.h5ad`` with predicted cells or profiles). Test
cells are not in the question.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, CONTROL, SEPARATOR = "perturbation", "control", "+"


@dataclass
class Question:
    """What a peer may see.

    Parameters
    ----------
    cells
        Log-normalised train cells, sparse, with the perturbation in ``obs``: ``"A"``, ``"A+B"`` or ``"control"``.
    wanted
        Perturbations to predict.
    seed
        Seed of the peer.
    settings
        Options of the worker.
    terms
        Annotations of each gene, as ``{gene: [term, ...]}``; empty if there are none.
    vectors
        Vectors of the targets, (targets × d); empty if there are none.
    """

    cells: ad.AnnData
    wanted: list[str]
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, list[str]] = field(default_factory=dict)
    vectors: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def targets(self) -> list[str]:
        """Every target in train or in the perturbations to predict, sorted."""
        names = {*self.cells.obs[KEY].astype(str), *self.wanted} - {CONTROL}
        return sorted({target for name in names for target in name.split(SEPARATOR)})

    def of(self, name: str) -> np.ndarray:
        """Train cells of a perturbation, dense, (n × G)."""
        return np.asarray(self.cells.X[(self.cells.obs[KEY].astype(str) == name).to_numpy()].toarray())

    def validation(self, share: float) -> list[str]:
        """Random train perturbations for a peer that needs some to choose an epoch by, at least one."""
        names = sorted(set(self.cells.obs[KEY].astype(str)) - {CONTROL})
        n = max(1, round(share * len(names)))
        return sorted(np.random.default_rng(self.seed).choice(names, n, replace=False).tolist())


def write_question(path: Path, question: Question) -> None:
    """Write a question."""
    cells = question.cells
    names = cells.obs[KEY].astype(str).to_numpy().astype(object)
    X = sparse.csr_matrix(cells.X, dtype=np.float32)
    kept = _table(X, names, cells.var_names)
    rest = {"wanted": question.wanted, "seed": question.seed, "settings": question.settings, "terms": question.terms}
    kept.uns["question"] = json.dumps(rest | {"vector_names": [str(name) for name in question.vectors.index]})
    kept.uns["vectors"] = question.vectors.to_numpy(dtype=np.float64)
    kept.write_h5ad(path)


def _table(X: Any, names: np.ndarray, genes: pd.Index) -> ad.AnnData:
    """Rows with the names of their perturbations. Names are objects, which old versions of anndata can read."""
    obs = pd.DataFrame({KEY: names}, index=[f"row{i}" for i in range(len(names))])
    return ad.AnnData(X, obs=obs, var=pd.DataFrame(index=genes.to_numpy().astype(str).astype(object)))


def read_question(path: Path) -> Question:
    """Read a question."""
    cells = ad.read_h5ad(path)
    stored = json.loads(str(cells.uns.pop("question")))
    vectors = pd.DataFrame(cells.uns.pop("vectors"), index=stored.pop("vector_names"))
    cells.X = sparse.csr_matrix(cells.X)
    return Question(cells, vectors=vectors, **stored)


def write_answer(path: Path, question: Question, predicted: dict[str, np.ndarray], **facts: Any) -> None:
    """Write predicted cells, or one profile, of each perturbation: arrays (n × G)."""
    X = np.concatenate([np.atleast_2d(rows) for rows in predicted.values()]).astype(np.float32)
    names = np.repeat(list(predicted), [len(np.atleast_2d(rows)) for rows in predicted.values()]).astype(object)
    answer = _table(X, names, question.cells.var_names)
    answer.uns["facts"] = json.dumps(facts)
    answer.write_h5ad(path)


def read_answer(path: Path) -> tuple[ad.AnnData, dict[str, Any]]:
    """Read an answer: the predictions, and the version, the seconds and the notes of the peer."""
    answer = ad.read_h5ad(path)
    return answer, json.loads(str(answer.uns.pop("facts")))


def work(package: str, answer: Callable[[Question], dict[str, np.ndarray]], *, note: str = "") -> None:
    """Answer the question that the command line names: ``worker.py QUESTION.h5ad ANSWER.h5ad``."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    question = read_question(source)
    start = time.perf_counter()
    predicted = answer(question)
    seconds = time.perf_counter() - start
    write_answer(target, question, predicted, version=version(package), seconds=seconds, note=note)
