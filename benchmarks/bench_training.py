"""Training of Model A on 36,000 × 1,000 sparse cells, compared with a minimal hand-written torch loop.

    python benchmarks/bench_training.py [--pairs 5] [--epochs 3]

Both use the same cells, batches and epochs, and predict the validation cells once per epoch. They alternate in one
process, and the ratio is computed for each pair of runs. Memory is the growth of the peak resident size during the fit,
in a separate process. The size before the fit includes the sparse matrix and the imported libraries.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import nn

from heldout.model import MLPConfig
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.networks._method import MLP

N_CELLS, N_GENES, DENSITY = 36_000, 1_000, 0.15


def make_data() -> Data:
    """Random sparse cells with random labels, 80 % train and 20 % val."""
    rng = np.random.default_rng(0)
    X = sparse.random(N_CELLS, N_GENES, density=DENSITY, format="csr", dtype=np.float32, random_state=0)
    labels = rng.integers(2, size=N_CELLS)
    order = rng.permutation(N_CELLS)
    cut = int(0.8 * N_CELLS)
    return Data(X, labels, 2, np.sort(order[:cut]), np.sort(order[cut:]))


def hand_written(data: Data, epochs: int) -> None:
    """Train with a loop written without any library on top of torch."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    width = N_GENES
    for _ in range(2):
        layers += [nn.Linear(width, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.3)]
        width = 512
    net = nn.Sequential(*layers, nn.Linear(width, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loss_function = nn.BCEWithLogitsLoss()
    labels = torch.from_numpy(data.labels).float()
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        net.train()
        order = rng.permutation(data.train)
        for first in range(0, len(order), 256):
            rows = order[first : first + 256]
            optimizer.zero_grad()
            loss = loss_function(net(torch.from_numpy(data.X[rows].toarray()))[:, 0], labels[rows])
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for first in range(0, len(data.val), 2048):
                net(torch.from_numpy(data.X[data.val[first : first + 2048]].toarray()))


def ours(data: Data, epochs: int) -> None:
    """Train with heldout."""
    MLP().fit(data, MLPConfig(max_epochs=epochs, patience=epochs + 1), seed=0)


def seconds(function, *arguments) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def resident(field: str) -> float:
    """Resident size (VmRSS) or its peak (VmHWM) of this process in MB, from Linux's /proc."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def peak_growth() -> None:
    """Print the growth of the peak resident size during one fit, in MB."""
    data = make_data()
    ours(Data(data.X[:512], data.labels[:512], 2, np.arange(256), np.arange(256, 512)), 1)  # imports, thread pools
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    ours(data, 1)
    print(resident("VmHWM") - before)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        peak_growth()
        sys.exit()
    data = make_data()
    hand_written(data, 1)
    ours(data, 1)
    pairs = [
        (seconds(ours, data, arguments.epochs), seconds(hand_written, data, arguments.epochs))
        for _ in range(arguments.pairs)
    ]
    ratios = [a / b for a, b in pairs]
    print(f"heldout      {statistics.median(a for a, _ in pairs):6.2f} s (median of {len(pairs)})")
    print(f"hand-written {statistics.median(b for _, b in pairs):6.2f} s")
    print(f"ratio        {statistics.median(ratios):6.3f} (from {min(ratios):.3f} to {max(ratios):.3f}), limit 1.05")
    grown = subprocess.run([sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True).stdout
    print(f"memory       {float(grown.split()[-1]):6.0f} MB above the sparse matrix, limit 300 MB")
