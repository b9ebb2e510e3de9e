"""Cells per second of the flow of perturbed cells, in training and in sampling, for each network.

    python benchmarks/bench_flow.py [--genes 500] [--threads 2] [--seconds 10] [--networks skip_mlp mlp unet latents]
    python benchmarks/bench_flow.py --device cuda --genes 2000 18000 --precision bf16-mixed
    python benchmarks/bench_flow.py --fit  # the default fit on 20,000 cells × 500 genes, from the AnnData

A row has the cells per second of training (forward, backward and optimiser, batches of 256 cells in memory) and of
sampling (the default solver), and the share of the peak: floating-point operations per second, divided by those of a
large product of matrices on the same device in the same precision.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from heldout.model import PerturbationFlowConfig
from heldout.tasks.perturbation.networks._condition import ConditionEncoder, Conditions
from heldout.tasks.perturbation.networks.flow._module import ConditionalFlow
from heldout.tasks.perturbation.networks.flow._space import Space

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 256
CONFIGS = {
    "skip_mlp": {},
    "mlp": {"network": "mlp"},
    "unet": {"network": "unet", "width": 32},
    "latents": {"network": "latents", "width": 64, "patch": 8},
}


def module_of(config: PerturbationFlowConfig, n_genes: int) -> ConditionalFlow:
    """A flow with initial weights for 100 targets."""
    conditions = Conditions(tuple(f"T{i}" for i in range(100)), (("one",),), np.ones(1, dtype=bool))
    encoder = ConditionEncoder(conditions, config.n_condition)
    return ConditionalFlow(config, encoder, Space.unscaled(n_genes))


def batch_of(n: int, n_genes: int, device: str) -> dict[str, torch.Tensor]:
    """Random cells with random targets."""
    made = {
        "X": torch.randn(n, n_genes),
        "targets": torch.randint(100, (n, 2)),
        "vectors": torch.zeros(n, 0),
        "unseen": torch.zeros(n),
        "context": torch.zeros(n, dtype=torch.int64),
        "dose": torch.zeros(n),
    }
    return {name: tensor.to(device) for name, tensor in made.items()}


CLOCK = time.perf_counter


def rate(step: Callable[[], object], seconds: float, device: str) -> float:
    """Calls per second, after one call that warms up."""
    step()
    synchronise(device)
    start, n = CLOCK(), 0
    while n == 0 or CLOCK() - start < seconds:
        step()
        synchronise(device)
        n += 1
    return n / (CLOCK() - start)


def synchronise(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak(device: str, dtype: torch.dtype) -> float:
    """Operations per second of a large product of matrices."""
    n = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 * rate(lambda: a @ b, 2.0, device)


def measure(name: str, n_genes: int, args: argparse.Namespace, best: float) -> None:
    """Print a row."""
    config = replace(PerturbationFlowConfig(), **CONFIGS[name])
    torch.manual_seed(0)
    module = module_of(config, n_genes).to(args.device)
    n = BATCH
    batch = batch_of(n, n_genes, args.device)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    mixed = torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16-mixed")

    def train() -> None:
        optimizer.zero_grad()
        with mixed:
            loss = module(batch)[2].loss
        loss.backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        train()
    n_operations = counter.get_total_flops()
    trained = rate(train, args.seconds, args.device)
    module.eval()
    begin = torch.randn(n, n_genes, device=args.device)
    condition = {key: tensor[:1] for key, tensor in batch.items() if key != "X"}

    def sample() -> None:
        with mixed:
            module.sample(condition, begin)

    sampled = rate(sample, args.seconds, args.device)
    n_weights = sum(parameter.numel() for parameter in module.parameters())
    print(
        f"{name:9} {n_genes:6,} genes  {n_weights:11,} weights  training {trained * n:9,.0f} cells/s  "
        f"{100 * trained * n_operations / best:5.1f} % of the peak  sampling {sampled * n:9,.0f} cells/s",
        flush=True,
    )


def whole_fit() -> None:
    """Print the seconds of the default fit on 20,000 cells × 500 genes, and of the prediction of test cells."""
    import scanpy as sc

    import heldout as ho

    logging.getLogger("heldout").setLevel(logging.ERROR)
    adata = ho.datasets.perturbations_simulated(n_singles=100, n_doubles=100, n_genes=500, n_cells=130, n_control=500)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    n_train = int((adata.obs["split"] == "train").sum())
    start = CLOCK()
    ho.tl.perturbation(adata, method="flow")
    print(f"fit of {n_train:,} train cells × {adata.n_vars} genes: {CLOCK() - start:.0f} s")
    start = CLOCK()
    cells = ho.tl.predict_cells(adata, "perturbation", n_cells=200)
    seconds = CLOCK() - start
    print(f"{cells.n_obs:,} predicted cells: {seconds:.1f} s, {cells.n_obs / seconds:,.0f} cells/s")


def main() -> None:
    """Read the arguments, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs="+", default=[500])
    parser.add_argument("--networks", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--busy", action="store_true", help="count seconds of one core, for a machine with other work")
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    if args.busy:
        global CLOCK
        CLOCK, args.threads = time.process_time, 1
    torch.set_num_threads(args.threads)
    if args.fit:
        whole_fit()
        return
    dtype = torch.bfloat16 if args.precision == "bf16-mixed" else torch.float32
    best = peak(args.device, dtype)
    print(
        f"{args.device}, {args.precision}, {args.threads} threads: {best / 1e12:.2f} TFLOP/s in a product of matrices"
    )
    for n_genes in args.genes:
        for name in args.networks:
            measure(name, n_genes, args, best)


if __name__ == "__main__":
    main()
