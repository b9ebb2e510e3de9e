"""Other tools and our methods on the same splits of a screen, judged by the same code (heldout.tl.score_predictions).

    python benchmarks/peers_perturbation.py --environments ENVS --install gears cellflow  # once, needs a package index
    python benchmarks/peers_perturbation.py --environments ENVS --peers gears cellflow [--data norman] [--seeds 5]
    python benchmarks/peers_perturbation.py --environments ENVS --data responders --seeds 1

Each tool runs in an environment of its own, in a worker of benchmarks/peers. A worker gets the train cells and the
names of the perturbations to predict, and never a test cell. Answers are kept in --work and are not computed again. Names
after --networks are methods of heldout that are judged like a tool. The closed forms of heldout are the baselines: the
verdict compares each tool with the best of them, by each metric. Units and intervals are those of
benchmarks/perturbation.py.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import perturbation as board
from peers.exchange import CONTROL, KEY, Question, read_answer, write_answer, write_question

import heldout as ho
from heldout.tasks.perturbation import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata as ad

FOLDER = Path(__file__).parent / "peers"
GENE_SETS = board.DATA / "gene_sets"
CLOSED = ("no_change", "mean", "additive", "latent_additive", "informed_additive", "moved_cells")
SHOWN = ("l2", "pearson_delta", "discrimination", "energy_distance", "mmd")
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """How a tool is installed and run.

    Parameters
    ----------
    worker
        Script in benchmarks/peers.
    packages
        What pip installs, in several steps.
    settings
        Options of the worker. Where the documented settings take hours without a GPU, they are smaller.
    """

    worker: str
    packages: tuple[tuple[str, ...], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


SMALL_FLOW = {
    "hidden_dims": [256] * 3,
    "decoder_dims": [256] * 3,
    "time_encoder_dims": [256] * 3,
    "condition_embedding_dim": 256,
    "time_freqs": 128,
    "learning_rate": 5e-4,
    "accumulate": 1,
    "iterations": 3000,
    "batch_size": 128,
    "tolerance": 1e-3,
}
"""CellFlow's defaults: layers of 2048 and 4096, 1024 frequencies, rate 5e-5, 20 accumulated batches of 1024 cells, and
tolerance 1e-5. They cost hours without a GPU. It has no default number of iterations."""

OLD = [
    "numpy<2",
    "setuptools<81",
    "scipy<1.12",
    "pandas<2.1",
    "scanpy<1.10",
    "pytorch-lightning<2",
    "torchmetrics<1",
    "jax<0.4.20",
    "jaxlib<0.4.20",
    "flax<0.7.3",
    "orbax-checkpoint<0.4",
    "numpyro<0.13",
    "pyro-ppl",
    "chex",
    "optax<0.1.8",
    "scikit-learn<1.4",
    "adjustText<1",
    "docrep",
    "mudata<0.3",
    "rich",
    "ml-collections",
    "h5py",
    "rdkit",
    "tqdm",
    "openpyxl",
    "xarray",
    "requests",
]
"""What cpa-tools 0.8.1 and scvi-tools 0.20.3 need. Their own metadata ask for torch below 2, so they are installed
without it, with the current torch."""

PEERS = {
    "sum": Peer("sum_worker.py"),
    "gears": Peer(
        "gears_worker.py", ((TORCH,), (TORCH, "cell-gears==0.1.2", "torch_geometric", "scipy<1.14", "setuptools<81"))
    ),
    "biolord": Peer(
        "biolord_worker.py",
        ((TORCH,), (TORCH, "biolord==0.0.3", "setuptools<81")),
        {"max_epochs": 200, "batch_size": 256, "patience": 20},
    ),
    "scgen": Peer(
        "scgen_worker.py",
        ((TORCH,), (TORCH, "pertpy==1.0.3", "scvi-tools[jax]<1.4", "statsmodels<0.15", "setuptools<81")),
        {"max_epochs": 100, "batch_size": 32, "patience": 25},
    ),
    "cpa": Peer(
        "cpa_worker.py",
        (
            (TORCH,),
            (TORCH, *OLD),
            ("--no-deps", "scvi-tools==0.20.3", "cpa-tools==0.8.1", "anndata==0.9.2"),
        ),
        {"n_latent": 64, "max_epochs": 200, "batch_size": 512, "patience": 10},
    ),
    "cellflow": Peer("cellflow_worker.py", (("cellflow-tools==0.0.9", "pandas<3", "requests"),), SMALL_FLOW),
}


SHORTENED = {
    ("gears", "responders"): {"epochs": 5},
    ("biolord", "responders"): {"max_epochs": 40},
    ("scgen", "responders"): {"max_epochs": 20},
}
"""Settings by tool and data where the documented ones take too long. GEARS halves its learning rate each epoch."""


def install(name: str, environments: Path) -> None:
    """Make an environment and install a tool."""
    place = environments / name
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    for packages in PEERS[name].packages:
        subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "-q", *packages], check=True)


def python_of(name: str, environments: Path | None) -> str:
    """The Python of a tool; a worker without packages runs in this Python."""
    if not PEERS[name].packages:
        return sys.executable
    python = (environments or Path()) / name / "bin" / "python"
    if environments is None or not python.exists():
        msg = f"{name} has no environment {python}. Run with --environments DIR --install {name} first."
        raise SystemExit(msg)
    return str(python)


def side_information(adata: ad.AnnData, wanted: Sequence[str]) -> tuple[dict[str, list[str]], pd.DataFrame]:
    """GO terms of genes and targets, and their vectors from GO and Pfam, if the screen has genes that are known."""
    terms_file, vectors_file = GENE_SETS / "gene2go_direct.tsv.gz", GENE_SETS / "gene_vectors_go_pfam_svd64.npz"
    if not terms_file.exists():
        return {}, pd.DataFrame()
    names = [*adata.obs[KEY].astype(str), *wanted]
    targets = {target for name in names if name != CONTROL for target in name.split("+")}
    genes = targets | set(adata.var_names)
    with gzip.open(terms_file, "rt") as file:
        terms = {row[0]: row[1].split() for row in csv.reader(file, delimiter="\t") if row[0] in genes}
    with np.load(vectors_file) as stored:
        vectors = pd.DataFrame(stored["vectors"].astype(np.float64), index=stored["genes"].astype(str))
    return terms, vectors.loc[vectors.index.isin(targets)]


def question_of(adata: ad.AnnData, *, seed: int, settings: dict[str, Any]) -> Question:
    """What a tool may see of a split screen: train cells, and the names of the test perturbations."""
    names, parts = adata.obs[KEY].astype(str), adata.obs["split"].astype(str)
    wanted = sorted(set(names[parts == "test"]) - {CONTROL})
    train = adata[(parts == "train").to_numpy()]
    return Question(train, wanted, seed, settings, *side_information(train, wanted))


def asked(name: str, adata: ad.AnnData, place: Path, *, data: str, seed: int, environments: Path | None) -> Path:
    """Let a tool answer, unless it has; return the file of its answer."""
    peer, answer = PEERS[name], place / f"{name}.h5ad"
    if answer.exists():
        return answer
    place.mkdir(parents=True, exist_ok=True)
    source, scratch = (place / f"{name}_question.h5ad").resolve(), place / f"{name}_files"
    scratch.mkdir(exist_ok=True)
    settings = peer.settings | SHORTENED.get((name, data), {})
    write_question(source, question_of(adata, seed=seed, settings=settings))
    command = [python_of(name, environments), str(FOLDER / peer.worker), str(source), str(answer.resolve())]
    with (place / f"{name}.log").open("w") as log:
        hidden = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        ended = subprocess.run(command, cwd=scratch, stdout=log, stderr=subprocess.STDOUT, env=hidden, check=False)
    if ended.returncode:
        msg = f"{name} failed with exit code {ended.returncode}; see {place / f'{name}.log'}"
        raise RuntimeError(msg)
    return answer


def of_heldout(name: str, adata: ad.AnnData, place: Path, *, seed: int) -> Path:
    """Let a method of heldout predict, unless it has; ``"informed_additive+vectors"`` has vectors of the targets."""
    answer = place / f"{name}_heldout.h5ad"
    if answer.exists():
        return answer
    place.mkdir(parents=True, exist_ok=True)
    adata, config = adata.copy(), None
    if name == "informed_additive+vectors":
        names, parts = adata.obs[KEY].astype(str), adata.obs["split"].astype(str)
        vectors = side_information(adata, sorted(set(names[parts == "test"])))[1]
        ho.pp.embedding(adata, vectors, key_added="go")
        config = ho.model.InformedAdditiveConfig(perturbation_embedding="go")
    start = time.perf_counter()
    ho.tl.perturbation(adata, method=name.split("+")[0], config=config, mask_var=None, rng=seed)
    is_profile = name.startswith("informed_additive")
    predicted = ho.tl.predict_profiles(adata) if is_profile else ho.tl.predict_cells(adata)
    seconds = time.perf_counter() - start
    names = predicted.obs[KEY].astype(str).to_numpy()
    rows = {known: np.asarray(predicted.X[names == known]) for known in dict.fromkeys(names)}
    question = question_of(adata, seed=seed, settings={})
    write_answer(answer, question, rows, version=version("heldout"), seconds=seconds, note="")
    return answer


def judged(adata: ad.AnnData, answers: dict[str, ad.AnnData]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of each test perturbation, and the table, of all tools and of the closed forms."""
    adata = adata.copy()
    table = ho.tl.score_predictions(adata, answers, mask_var=None, baselines=CLOSED, n_bootstrap=20)
    scores = ho.get.scores(adata, "predictions")
    return scores.assign(at=""), table


def closed_seconds(adata: ad.AnnData) -> list[dict[str, Any]]:
    """Seconds of the closed forms."""
    rows = []
    for name in CLOSED:
        start = time.perf_counter()
        ho.tl.perturbation(adata.copy(), method=name, mask_var=None)
        rows.append({"method": name, "version": version("heldout"), "seconds": time.perf_counter() - start})
    return rows


def compared(arguments: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask all tools on all splits; return the pooled table and the facts of each tool."""
    how = board.USUAL[arguments.data] if arguments.hold_out is None else arguments.hold_out
    adata = board.load(arguments.data, how)
    scores, tables, facts = [], [], []
    for seed in range(arguments.seeds):
        board.split(adata, how, seed=seed)
        place = arguments.work / f"{arguments.data}-{how}-{seed}"
        answers = {}
        for name in arguments.peers:
            start = time.perf_counter()
            answer = asked(name, adata, place, data=arguments.data, seed=seed, environments=arguments.environments)
            answers[name], found = read_answer(answer)
            facts.append({"method": name, **found})
            print(f"split {seed}: {name} {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        for name in arguments.networks:
            label = f"{name} (heldout)"
            answers[label], found = read_answer(of_heldout(name, adata, place, seed=seed))
            facts.append({"method": label, **found})
        facts += closed_seconds(adata)
        rows, table = judged(adata, answers)
        scores.append(rows.assign(seed=seed))
        tables.append(table.assign(seed=seed))
    all_scores = pd.concat(scores, ignore_index=True)
    if arguments.measured:
        all_scores = board.without_fallbacks(all_scores)
    pooled = board.pooled(all_scores, pd.concat(tables), np.random.default_rng(0))
    return pooled, pd.DataFrame(facts)


def shown(pooled: pd.DataFrame, facts: pd.DataFrame, metrics: Sequence[str] = SHOWN) -> pd.DataFrame:
    """One row for each method: version, median seconds, and each metric with its interval and its verdict."""
    rows = facts.groupby("method", sort=False).agg({"version": "first", "seconds": "median"}).round(1)
    for metric in metrics:
        of_metric = pooled[pooled["metric"] == metric].set_index("method")
        cells = of_metric["estimate"].map("{:.3g}".format)
        known = of_metric["ci_low"].notna()
        cells[known] += of_metric[known].apply(lambda row: f" ({row['ci_low']:.3g} to {row['ci_high']:.3g})", axis=1)
        verdict = of_metric["verdict"].where(of_metric["role"] == "model", "")
        rows = rows.join(cells.str.cat(verdict, sep=" ").str.strip().rename(metric), how="outer")
    order = pooled[pooled["metric"] == metrics[0]].sort_values("estimate")["method"]
    return rows.reindex(order)


def published() -> pd.DataFrame:
    """Scores that two studies published for the pairs of the Norman subset, from their source data."""
    names = board.load("norman", "combination").obs[KEY].astype(str).unique()
    pairs = {_sorted(name) for name in names if "+" in name}
    first = pd.read_excel(board.DATA / "ahlmann_eltze2025" / "perturbation_prediction.xlsx", sheet_name="Panel A")
    first = first.assign(pair=first["perturbation"].map(_sorted))
    second = pd.read_csv(board.DATA / "scperturbench" / "genetic_combo_performance_top5000.csv")
    second = second[second["DataSet"] == "Norman"]
    second = second.assign(pair=second["op"].str.rsplit("_", n=1).str[0].map(_sorted))
    columns = {}
    for study, table, metrics in (
        ("Ahlmann-Eltze", first, {"l2": "l2", "r2_delta": "pearson_delta"}),
        ("scPerturBench", second, {"cor": "pearson_delta"}),
    ):
        here = table[table["pair"].isin(pairs)]
        for metric, ours in metrics.items():
            columns[f"{study}, {ours}, {here['pair'].nunique()} pairs here"] = here.groupby("method")[metric].mean()
            columns[f"{study}, {ours}, all {table['pair'].nunique()}"] = table.groupby("method")[metric].mean()
    return pd.DataFrame(columns).round(3)


def _sorted(name: str) -> str:
    """The name of a pair, with its members in alphabetical order."""
    return "+".join(sorted(name.split("+")))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(board.USUAL), default="norman")
    parser.add_argument(
        "--hold-out", choices=["combination", "single"], help="default: the usual question for the data"
    )
    parser.add_argument("--seeds", type=int, default=5, help="splits")
    parser.add_argument("--peers", nargs="*", default=["gears", "cellflow"], choices=list(PEERS))
    networks = [*METHODS.names(), "informed_additive+vectors"]
    parser.add_argument("--networks", nargs="*", default=[], choices=networks, help="methods of heldout to judge")
    parser.add_argument("--environments", type=Path, help="folder with an environment for each tool")
    parser.add_argument("--install", nargs="+", choices=list(PEERS), help="make these environments and stop")
    parser.add_argument("--measured", action="store_true", help="score only pairs whose two members are in train alone")
    parser.add_argument("--published", action="store_true", help="print what two studies published for these pairs")
    parser.add_argument("--work", type=Path, default=Path("peers_work"), help="folder for questions and answers")
    parser.add_argument("--table", type=Path, help="CSV file for the pooled table of all metrics")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    if arguments.install:
        for name in arguments.install:
            install(name, arguments.environments)
        return
    if arguments.published:
        print(published().to_string())
        return
    pooled, facts = compared(arguments)
    with pd.option_context("display.width", 250, "display.max_columns", 20, "display.max_colwidth", 60):
        print(shown(pooled, facts).to_string())
    if arguments.table:
        pooled.to_csv(arguments.table, index=False)


if __name__ == "__main__":
    main()
