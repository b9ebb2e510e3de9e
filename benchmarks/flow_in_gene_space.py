"""Why do some networks fail as the velocity of a flow in gene space? Width, patches, gene order, source and target.

    python benchmarks/flow_in_gene_space.py [--part networks widths patches gaussian] [--seeds 3] [--steps 1000]

A flow carries a source to the cells of the Norman subset (all perturbations together, without conditions). Half of the
cells train it. The other half judges 1,000 generated cells by the energy distance in gene space. Every network gets the
same number of steps, batch size and learning rate. A seed changes the halves, the initial weights and the source.

noise: standard normal in each gene. matched: normal, with the mean and the standard deviation of each gene in train.
v: the network predicts the velocity, cell minus source. x: the network predicts the cell.

The lowest loss is a closed form for a normal distribution with the covariance of train: see ``lowest_loss``. Tables are
printed as Markdown, in the form of docs/flow_in_gene_space.md. Figures are means over seeds, with the lowest and the
highest seed in brackets.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import torch
from _flow_networks import Bottleneck, network
from _screens import DATA
from torch import nn

from heldout.metrics import energy_distance

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH, LR, N_SOLVER, N_JUDGED = 64, 1e-3, 50, 1000


@dataclass(frozen=True)
class Run:
    """One flow to train: the network, what it predicts, its source, and the number of genes."""

    name: str
    width: int
    target: str = "v"
    source: str = "noise"
    n_genes: int = 200
    permuted: bool = False


def cells(n_genes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train half and judging half of the Norman cells, in the genes that vary most over all of them."""
    adata = ad.read_h5ad(DATA / "norman2019" / "norman19_mcfaline23_devel.h5ad")
    X = adata[(adata.obs["dataset"] == "norman19").to_numpy()].X.toarray().astype(np.float32)
    X = X[:, np.sort(np.argsort(-X.var(axis=0), kind="stable")[:n_genes])]
    train, judge = np.array_split(np.random.default_rng(seed).permutation(len(X)), 2)
    return X[train], X[judge]


def passed_on(variance: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Part of the squared velocity that the point on the path tells, in each direction, averaged over time.

    It is what a network loses in a direction that it does not pass on. Both distributions are normal with these
    variances; with a source of variance 1 it is 1 for a direction without cells, and 0.43 where the variance is 1.
    """
    t = (np.arange(4000) + 0.5) / 4000
    cov = t * variance[:, None] - (1 - t) * source[:, None]
    return (cov**2 / (t**2 * variance[:, None] + (1 - t) ** 2 * source[:, None]).clip(1e-30)).mean(axis=1)


def lowest_loss(variance: np.ndarray, source: np.ndarray, width: int) -> float:
    """Lowest squared error of a velocity, summed over directions, for a network that passes on ``width`` of them."""
    told = passed_on(variance, source)
    lost = np.sort(told)[: max(len(told) - width, 0)].sum()  # the network keeps the directions that tell most
    return float((variance + source - told).sum() + lost)


def start(X: torch.Tensor, source: str, n: int) -> torch.Tensor:
    """Draw from the source."""
    noise = torch.randn(n, X.shape[1])
    return noise if source == "noise" else X.mean(dim=0) + X.std(dim=0) * noise


def train(net: nn.Module, X: torch.Tensor, run: Run, *, steps: int) -> float:
    """Train in place; return the loss of the last tenth of the steps, summed over genes."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    losses = []
    for _ in range(steps):
        cell = X[torch.randint(len(X), (BATCH,))]
        begin, t = start(X, run.source, BATCH), torch.rand(BATCH, 1)
        predicted = net((1 - t) * begin + t * cell, t)
        loss = (predicted - (cell - begin if run.target == "v" else cell)).square().sum(dim=1).mean()
        optimizer.zero_grad()
        (loss / X.shape[1]).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(1, steps // 10) :]))


@torch.no_grad()
def generated(net: nn.Module, X: torch.Tensor, run: Run) -> np.ndarray:
    """Cells at the end of the flow, by Euler's method."""
    net.eval()
    x = start(X, run.source, N_JUDGED)
    for k in range(N_SOLVER):
        t = torch.full((len(x), 1), k / N_SOLVER)
        predicted = net(x, t)
        x = x + (predicted if run.target == "v" else (predicted - x) / (1 - t)) / N_SOLVER
    return x.numpy().astype(np.float64)


def result(run: Run, *, seed: int, steps: int) -> dict[str, float]:
    """Energy distance, loss, lowest loss and seconds of one run."""
    first, judge = cells(run.n_genes, seed)
    torch.manual_seed(seed)
    if run.permuted:
        order = np.random.default_rng(seed).permutation(run.n_genes)
        first, judge = first[:, order], judge[:, order]
    X, began = torch.from_numpy(first), time.perf_counter()
    net = network(run.name, run.n_genes, run.width)
    loss = train(net, X, run, steps=steps)
    energy = energy_distance(judge[:N_JUDGED].astype(np.float64), generated(net, X, run))
    variance = np.linalg.eigvalsh(np.cov(first.T)).clip(0)
    of_source = np.ones(run.n_genes) if run.source == "noise" else np.sort(first.var(axis=0))
    floor = lowest_loss(variance, of_source, run.width) if run.source == "noise" and run.target == "v" else np.nan
    n_weights = sum(p.numel() for p in net.parameters())
    return {"energy": energy, "loss": loss, "floor": floor, "s": time.perf_counter() - began, "weights": n_weights}


def row(run: Run, *, seeds: int, steps: int) -> dict[str, list[float]]:
    """Results over seeds, by name."""
    found = [result(run, seed=seed, steps=steps) for seed in range(seeds)]
    return {name: [of_seed[name] for of_seed in found] for name in found[0]}


def shown(values: Iterable[float], digits: int = 3) -> str:
    """Mean, and the lowest and highest seed."""
    values = np.array(list(values))
    if np.isnan(values).all():
        return ""
    return f"{values.mean():.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def table(title: str, runs: dict[str, Run], arguments: argparse.Namespace) -> None:
    """Print one row for each run."""
    print(
        f"\n### {title}\n\n| network | energy distance | loss | lowest loss | weights | s |\n|---|---|---|---|---|---|"
    )
    for label, run in runs.items():
        found = row(run, seeds=arguments.seeds, steps=arguments.steps)
        narrow = run.name in {"mlp", "residual_mlp"}  # other networks have further paths
        floor = f"{np.mean(found['floor']):.0f}" if narrow and np.isfinite(found["floor"]).all() else ""
        size, seconds = f"{found['weights'][0]:,}", f"{np.mean(found['s']):.0f}"
        print(
            f"| {label} | {shown(found['energy'])} | {shown(found['loss'], 1)} | {floor} | {size} | {seconds} |",
            flush=True,
        )


def networks(arguments: argparse.Namespace) -> None:
    """Compare networks, targets and sources."""
    runs = {}
    for target, source in (("v", "noise"), ("x", "noise"), ("v", "matched"), ("x", "matched")):
        for width in (64, 256):
            runs[f"MLP of width {width}, {target}, {source}"] = Run("mlp", width, target, source)
    for width in (64, 256, 1024):
        runs[f"residual MLP of width {width}, v, noise"] = Run("residual_mlp", width)
    runs["residual MLP of width 64 with a path per gene, v, noise"] = Run("skip_mlp", 64)
    runs["U-Net, v, noise"] = Run("unet", 8)
    runs["U-Net, genes permuted, v, noise"] = Run("unet", 8, permuted=True)
    runs["U-Net with gene identity, v, noise"] = Run("unet_identity", 8)
    runs["U-Net with gene identity, genes permuted, v, noise"] = Run("unet_identity", 8, permuted=True)
    runs["U-Net, v, matched"] = Run("unet", 8, source="matched")
    runs["latents with gene tokens, v, noise"] = Run("latents", 32)
    table("Networks, 200 genes", runs, arguments)


def widths(arguments: argparse.Namespace) -> None:
    """Width of an MLP against the number of genes."""
    runs = {}
    for n_genes, widths in ((50, (32, 128)), (200, (32, 128, 512)), (500, (32, 128))):
        for width in widths:
            runs[f"{n_genes} genes, width {width}"] = Run("residual_mlp", width, n_genes=n_genes)
    table("Width of a residual MLP against the number of genes; v, noise", runs, arguments)


def patches(arguments: argparse.Namespace) -> None:
    """Width of a token against the genes of a token, with and without gene identity."""
    runs = {}
    for genes, widths in ((1, (8,)), (10, (8, 32)), (50, (8, 32, 128)), (200, (32, 128, 512))):
        for width in widths:
            runs[f"{genes} genes in a token of width {width}"] = Run(f"patches_{genes}", width)
    runs["10 genes in a token of width 32, no identity"] = Run("shared_10", 32)
    table("Genes in a token against the width of a token; v, noise, 200 genes", runs, arguments)


def gaussian(arguments: argparse.Namespace) -> None:
    """A normal distribution with known covariance: measured loss of a linear bottleneck against the closed form."""
    n_genes, rows = 32, 20_000
    variance = np.geomspace(1e-3, 2.0, n_genes)
    print("\n### Normal distribution, 32 directions: loss of a network that passes on some directions\n")
    print("| source | directions passed on | loss | closed form |\n|---|---|---|---|")
    for source in ("noise", "matched"):
        of_source = np.ones(n_genes) if source == "noise" else variance
        for width in (4, 8, 16, 24):
            found = []
            for seed in range(arguments.seeds):
                torch.manual_seed(seed)
                X = torch.randn(rows, n_genes) * torch.from_numpy(np.sqrt(variance)).float()
                run = Run("bottleneck", width, source=source, n_genes=n_genes)
                found.append(train(Bottleneck(n_genes, width), X, run, steps=2 * arguments.steps))
            print(
                f"| {source} | {width} | {shown(found, 2)} | {lowest_loss(variance, of_source, width):.2f} |",
                flush=True,
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"networks": networks, "widths": widths, "patches": patches, "gaussian": gaussian}
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    first, judge = cells(200, 0)
    floor = energy_distance(judge[:N_JUDGED].astype(np.float64), first[:N_JUDGED].astype(np.float64))
    print(f"energy distance of 1,000 measured cells of each half, 200 genes: {floor:.4f}")
    for part in arguments.part:
        parts[part](arguments)


if __name__ == "__main__":
    main()
