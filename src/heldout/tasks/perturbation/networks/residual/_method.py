"""``method="residual_flow"``: composed cells, moved by a flow as far as held-out perturbations of train support it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout.tasks.perturbation.config import ComposedCellsConfig
from heldout.tasks.perturbation.config_networks import ResidualFlowConfig
from heldout.tasks.perturbation.methods.composed_cells import MOST_CONTROLS, CellComposer, Composed, ComposedCells
from heldout.tasks.perturbation.methods.questions import FEWEST_ROWS, QUESTIONS, questions_of
from heldout.tasks.perturbation.networks._control_cells import ControlCells, kept_controls
from heldout.tasks.perturbation.networks.flow._space import components_of
from heldout.tasks.perturbation.networks.residual._examples import held_out_cells
from heldout.tasks.perturbation.networks.residual._frames import Geometry, frame_of, precision_of
from heldout.tasks.perturbation.networks.residual._gates import Gate, gate_of
from heldout.tasks.perturbation.networks.residual._network import ResidualNetwork
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls

if TYPE_CHECKING:
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pair

logger = logging.getLogger("heldout")

_BASE = "base."
"""Prefix of the arrays of the composed cells."""

_N_COMPS = 50
"""Components in which distances between cells are taken."""


class ResidualFlow:
    """Correct composed cells by a conditional flow that is trained on held-out perturbations of train.

    Train perturbations are held out in folds, and their cells are composed without them. A flow learns how these
    composed cells differ from the measured ones, and moves the composed cells of a new perturbation in the same way.
    The residual has two parts: its mean over the cells, and the differences between cells around it. Each part is used
    with a strength of 0, 0.5 or 1. Held-out perturbations that the flow has not seen choose the strength. Without a
    clear gain it is 0, and the cells are those of ``composed_cells``.

    The three questions (combination, context, single) have separate flows and strengths.
    """

    default_config: ClassVar[ResidualFlowConfig] = ResidualFlowConfig()
    stochastic: ClassVar[bool] = True
    reads: ClassVar[Literal["profiles", "cells"]] = "cells"

    def fit(self, data: Data, config: ResidualFlowConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Fit composed cells, and for each question the strengths and the flow."""
        of_base = ComposedCellsConfig(config.max_cells, config.perturbation_embedding)
        base = ComposedCells().fit(data, of_base, seed=seed)
        composer = CellComposer(base, Controls.without_cells(data.profiles.control), seed)
        cells, responses = data.cells(), dict(zip(composer.kept.pairs, composer.responses, strict=True))
        geometry = _geometry(data, precision_of(composer.kept), config)
        arrays = {
            "precision": geometry.precision,
            "control": data.profiles.control,
            **kept_controls(cells, MOST_CONTROLS, seed),
        }
        gates, history = {}, []
        for question in QUESTIONS:
            asked = config.questions is None or question in config.questions
            examples = held_out_cells(data, question, of_base, responses, geometry, seed=seed) if asked else []
            gate = Gate()
            if len(examples) >= FEWEST_ROWS:
                gate = gate_of(examples, config, geometry.directions, non_negative=composer.non_negative, seed=seed)
            if not gate.closed:
                network, of_network = ResidualNetwork.trained(examples, config, seed=seed)
                arrays |= with_prefix(network.arrays(), f"{question}.")
                history.append(of_network.assign(question=question))
            gates[question] = {"shape": gate.shape, "mean": gate.mean, "n_held_out": len(examples)}
        perturbations = [list(targets) for targets in sorted(set(data.profiles.pairs.targets))]
        info = {"base": base.info, "gates": gates, "perturbations": perturbations, "network": asdict(config)}
        table = pd.concat([pd.DataFrame(), *history], ignore_index=True)
        fitted = Fitted({**arrays, **with_prefix(base.arrays, _BASE)}, info, table)
        logger.info("residual_flow: %s", self.chosen(fitted))
        return fitted

    def chosen(self, fitted: Fitted) -> str:
        """The strengths that are used, for the table of an evaluation."""
        gates = fitted.info["gates"]
        used = [
            f"{question} (shape {gate['shape']:g}, mean {gate['mean']:g}, from {gate['n_held_out']} held-out)"
            for question, gate in gates.items()
            if gate["shape"] or gate["mean"]
        ]
        return f"residuals used: {', '.join(used)}" if used else "no residual is used: the cells are composed cells"

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Composed:
        """Compose cells and move them; a row whose mean change uses a fallback is flagged."""
        return Composed.of(ResidualComposer(fitted, controls, seed), pairs)


class ResidualComposer:
    """Composes cells, and moves them by the flow of their question."""

    def __init__(self, fitted: Fitted, controls: Controls, seed: int) -> None:
        base = Fitted(without_prefix(fitted.arrays, _BASE), fitted.info["base"])
        self.controls, self.seed = ControlCells(fitted, controls).as_controls(), seed
        self.base = CellComposer(base, self.controls, seed)
        self.config = ResidualFlowConfig.from_stored(fitted.info["network"])
        self.precision = fitted.arrays["precision"]
        self.seen = {tuple(targets) for targets in fitted.info["perturbations"]}
        self.gates = {name: Gate(gate["shape"], gate["mean"]) for name, gate in fitted.info["gates"].items()}
        n_dims = len(self.precision) if self.config.coordinates == "genes" else 2
        self.networks = {
            name: ResidualNetwork.load(without_prefix(fitted.arrays, f"{name}."), self.config, n_dims)
            for name, gate in self.gates.items()
            if not gate.closed
        }
        self.cells = lru_cache(maxsize=16)(self._cells)

    def changes(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Mean change of each perturbation, (m × G), and whether a row is a fallback, (m,)."""
        change, fallback = self.base.changes(pairs)
        for i, pair in enumerate(pairs):
            if self._gate(pair)[1].mean:
                change[i] = self.cells(pair).mean(axis=0) - self.controls.mean[pair.context]
        return change, fallback

    def _gate(self, pair: Pair) -> tuple[str, Gate]:
        """The question that a perturbation asks, and the strengths; a perturbation that train has is not moved."""
        question = str(questions_of(Pairs.of([pair]), self.seen)[0])
        return question, Gate() if pair in self.base.group else self.gates[question]

    def _cells(self, pair: Pair) -> np.ndarray:
        """All cells of a perturbation, (n × G)."""
        cells, (question, gate) = self.base.cells(pair), self._gate(pair)
        if gate.closed or not np.isfinite(cells).all():
            return cells
        frame = frame_of(self.base, pair, self.precision, self.config.coordinates)
        residuals = self.networks[question].residuals(frame, cells)
        return gate.applied(cells, residuals, non_negative=self.base.non_negative)


def _geometry(data: Data, precision: np.ndarray, config: ResidualFlowConfig) -> Geometry:
    """Principal components of the train cells, and the given weights of the genes."""
    cells, control = data.cells(), data.profiles.control
    centre = np.asarray(control[np.isfinite(control).all(axis=1)].mean(axis=0))
    found = components_of(cells, cells.in_order(cells.train), centre, _N_COMPS)["components"]
    return Geometry(precision, found.astype(np.float64), config.coordinates)
