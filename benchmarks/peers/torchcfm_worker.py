"""Train OT-CFM (torchcfm) on cells of the train times, and integrate the cells of one time to another.

    worker.py QUESTION.npz ANSWER.npz

The question has ``times`` (T,), the cells of each as ``cells0``, ``cells1``, ..., ``at``, and the settings. The path
between two neighbouring train times is that of the library, with exact transport of minibatches. Time is in units of
the question.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher
from torchcfm.models.models import MLP
from torchdiffeq import odeint


def trained(times: np.ndarray, cells: list[torch.Tensor], *, n_updates: int, batch_size: int, lr: float) -> MLP:
    """The velocity network of the library's single-cell example: width 64, noise 0.1."""
    network = MLP(dim=cells[0].shape[1], time_varying=True, w=64)
    matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=0.1)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    for _ in range(n_updates):
        inputs, wanted = [], []
        for i, step in enumerate(np.diff(times)):
            x0, x1 = (side[torch.randint(len(side), (batch_size,))] for side in cells[i : i + 2])
            share, x, velocity = matcher.sample_location_and_conditional_flow(x0, x1)
            inputs.append(torch.cat([x, times[i] + float(step) * share[:, None]], dim=1))
            wanted.append(velocity / float(step))
        loss = torch.mean((network(torch.cat(inputs).float()) - torch.cat(wanted)) ** 2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def main() -> None:
    """Answer one question."""
    question = np.load(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(int(question["seed"]))
    np.random.seed(int(question["seed"]))  # noqa: NPY002 -- the plans of the library are drawn by it
    began, times, at = time.perf_counter(), question["times"], float(question["at"])
    cells = [torch.as_tensor(question[f"cells{i}"], dtype=torch.float32) for i in range(len(times))]
    settings = {"n_updates": int(question["n_updates"]), "batch_size": 128, "lr": 1e-3}
    network = trained(times, cells, **settings)
    first = int(np.searchsorted(times, at)) - 1
    with torch.no_grad():
        ends = torch.tensor([times[first], at], dtype=torch.float32)
        moved = odeint(lambda t, x: network(torch.cat([x, t.expand(len(x), 1)], dim=1)), cells[first], ends)[-1]
    facts = {"seconds": time.perf_counter() - began, "version": version("torchcfm")}
    np.savez(sys.argv[2], cells=moved.numpy(), **facts)


if __name__ == "__main__":
    main()
