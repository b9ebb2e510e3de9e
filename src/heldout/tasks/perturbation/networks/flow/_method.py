"""``method="flow"``: conditional flow matching of perturbed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.types import is_dask
from heldout.tasks.perturbation.config_networks import PerturbationFlowConfig
from heldout.tasks.perturbation.methods.moved_cells import KeptCells, keep_cells
from heldout.tasks.perturbation.networks._batches import PairedBlocks
from heldout.tasks.perturbation.networks._condition import ConditionEncoder
from heldout.tasks.perturbation.networks._network import NetworkMethod, coordinates, predicting_device
from heldout.tasks.perturbation.networks.flow._module import ConditionalFlow
from heldout.tasks.perturbation.networks.flow._sources import ComposedBlocks, Composer
from heldout.tasks.perturbation.networks.flow._space import Space, components_of
from heldout.tasks.perturbation.networks.flow._zeros import thresholds, with_zeros
from heldout.tasks.perturbation.pairs import Pair, Pairs
from heldout.tasks.perturbation.predictions import Generated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.networks._network import Blueprint
    from heldout.tasks.perturbation.observed import Cells
    from heldout.tasks.perturbation.predictions import Controls

_KEPT = "kept."
"""Prefix of the arrays of kept cells."""

_PIECE = 2**22
"""Numbers of a piece of cells that are generated together."""

_N_LEARNED = 2000
"""Train cells from which thresholds are learned."""


class GeneFlow(NetworkMethod):
    """Generate perturbed cells by a flow from source cells, in the space of genes or of principal components."""

    default_config: ClassVar[PerturbationFlowConfig] = PerturbationFlowConfig()
    gene_axes: ClassVar[dict[str, int]] = {
        "centre": 0,
        "spread": 0,
        "components": 1,
        "net.net.into.weight": 1,
        "net.net.out.weight": 0,
        "net.net.out.bias": 0,
        "net.net.gate.weight": 0,
        "net.net.gate.bias": 0,
    }

    def prepare(
        self, data: Data, config: PerturbationFlowConfig, *, seed: int, start: Fitted | None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Coordinates, and the kept cells of a composed source."""
        cells = data.cells()
        arrays, info = coordinates(cells, start), {}
        if config.space == "pca":
            of_start = {} if start is None else start.arrays
            names = ("components", "spread_comps")
            if all(name in of_start for name in names):
                arrays |= {name: of_start[name] for name in names}
            else:
                arrays |= components_of(
                    cells, cells.in_order(cells.train), arrays["centre"].astype(np.float64), config.n_comps
                )
        if config.source == "composed":
            kept = keep_cells(data, config.max_cells, seed=seed)
            arrays, info = {**arrays, **with_prefix(kept.arrays, _KEPT)}, {"kept": kept.info}
        return arrays, info

    def build(self, blueprint: Blueprint) -> ConditionalFlow:
        """The flow with initial weights."""
        encoder = ConditionEncoder(blueprint.conditions, blueprint.config.n_condition)
        return ConditionalFlow(blueprint.config, encoder, Space.of(blueprint.arrays))

    def blocks(
        self, cells: Cells, blueprint: Blueprint, rows: np.ndarray, *, batch_size: int, seed: int | None
    ) -> PairedBlocks:
        """Batches with the source cells that the options ask for."""
        composer, conditions = _composer(blueprint.arrays, blueprint.info), blueprint.conditions
        if composer is not None:
            return ComposedBlocks(cells, rows, conditions, batch_size, composer, seed=seed)
        with_controls = blueprint.config.source == "control"
        return PairedBlocks(cells, rows, conditions, batch_size, seed=seed, controls=with_controls)

    def finish(
        self, module: ConditionalFlow, cells: Cells, blueprint: Blueprint, rows: np.ndarray, *, seed: int
    ) -> dict[str, np.ndarray]:
        """Thresholds below which a value is zero, from cells that are generated for train conditions."""
        if blueprint.config.zeros == "none":
            return {}
        rng = np.random.default_rng([seed, 1])
        chosen = rng.permutation(rows)[:_N_LEARNED]
        chosen = np.sort(chosen) if is_dask(cells.X) else chosen
        blocks = self.blocks(cells, blueprint, chosen, batch_size=512, seed=None)
        generated, n_zeros = [], np.zeros(len(blueprint.arrays["centre"]))
        module.to(predicting_device())
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        for batch in (batch for block in blocks for batch in block):
            begin = module.begin(batch, generator)
            generated.append(module.sample(batch, begin).cpu().numpy())
            n_zeros += (batch["X"] == 0).sum(dim=0).numpy()
        module.cpu()
        return {"threshold": thresholds(np.concatenate(generated), n_zeros / len(chosen))}

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Generated:
        """Draw source cells and move them along the flow; unseen targets without a vector are fallbacks."""
        module, conditions, config = self.module(fitted), self.conditions(fitted), self.config_of(fitted)
        module.to(predicting_device())
        composer = _composer(fitted.arrays, fitted.info)
        threshold = fitted.arrays.get("threshold")
        _, fallback = conditions.encode(pairs)

        def sample(pair: Pair, n: int, rng: np.random.Generator) -> np.ndarray:
            condition, _ = conditions.encode(Pairs.of([pair]))
            begin = _begin(module, config, composer, controls, pair, n, rng)
            most = max(16, min(2048, _PIECE // len(fitted.arrays["centre"])))
            parts = [module.sample(condition, piece).cpu().numpy() for piece in begin.split(most)]
            cells = np.concatenate(parts).astype(np.float64)
            return cells if threshold is None else with_zeros(cells, threshold)

        return Generated(sample, fallback, pairs, controls, seed)


def _composer(arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> Composer | None:
    """The kept cells of a composed source, or None."""
    return Composer(KeptCells(Fitted(without_prefix(arrays, _KEPT), info["kept"]))) if "kept" in info else None


def _begin(
    module: ConditionalFlow,
    config: PerturbationFlowConfig,
    composer: Composer | None,
    controls: Controls,
    pair: Pair,
    n: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Coordinates where the paths of a perturbation begin, (n × k)."""
    space = module.space
    if config.source in ("noise", "matched"):
        noise = torch.from_numpy(rng.standard_normal((n, space.n_dims), dtype=np.float32))
        return noise if config.source == "noise" else noise * space.spread
    cells = controls.draw(pair.context, n, rng) if composer is None else composer.draw(pair, controls, n, rng)
    return space.encode(torch.from_numpy(cells.astype(np.float32)))
