"""``graph`` behind the two verbs of a perturbation method."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout.tasks.perturbation.config_networks import GraphConfig
from heldout.tasks.perturbation.networks._condition import Conditions
from heldout.tasks.perturbation.networks.graph._graph import graph_of
from heldout.tasks.perturbation.networks.graph._module import GraphModule
from heldout.tasks.perturbation.networks.latent_additive._method import LatentAdditiveNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout._core.method import Fitted
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.networks._network import Blueprint

logger = logging.getLogger("heldout")


class Graph(LatentAdditiveNetwork):
    """A latent additive network in which targets that were never perturbed have vectors from a graph of genes.

    Each gene is joined to the train targets with the most similar vectors, or with the most similar expression in the
    train cells. It is the idea of GEARS :cite:p:`roohani2024` for unseen genes. A target that is in no graph, or is
    joined to no train target, has the mean vector, which is the fallback.
    """

    default_config: ClassVar[Any] = GraphConfig()

    def prepare(
        self, data: Data, config: Any, *, seed: int, start: Fitted | None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Coordinates, control cells, and the graph; nodes that are joined to no train target are left out."""
        arrays, info = super().prepare(data, config, seed=seed, start=start)
        earlier = [] if start is None else start.info["nodes"][: start.info["n_learned"]]
        learned = sorted({*earlier, *(target for targets in data.profiles.pairs.targets for target in targets)})
        nodes, weights = graph_of(data, learned, config.n_neighbors, config.n_steps)
        kept = (np.arange(len(nodes)) < len(learned)) | weights.any(axis=1)
        if not weights.any():
            what = "co-expression of the genes" if data.target_vectors is None else "perturbation_embedding"
            logger.warning(
                "method='graph': the graph from the %s joins no two of the %d train targets, so it has no effect. Pass "
                "a perturbation_embedding that has them, see heldout.pp.embedding.",
                what,
                len(learned),
            )
        info |= {"nodes": [name for name, keep in zip(nodes, kept, strict=True) if keep], "n_learned": len(learned)}
        return {**arrays, "graph": weights[kept]}, info

    def conditions_of(self, data: Data, info: Mapping[str, Any], start: Fitted | None) -> Conditions:
        """The nodes of the graph, train targets first; they have no fixed vectors."""
        return replace(Conditions.of(replace(data, target_vectors=None), start), targets=tuple(info["nodes"]))

    def build(self, blueprint: Blueprint) -> GraphModule:
        """The module with initial weights."""
        return GraphModule(blueprint.config, blueprint.conditions, blueprint.arrays)
