"""What will the cells look like at a time that was not measured? The methods, and how they are judged."""

from heldout._core.method import Method, Registry

_HERE = "heldout.tasks.forecast"

_BEYOND = frozenset({"forecast"})
_BETWEEN = frozenset({"interpolation"})
"""Kinds of questions: to predict after the last train time, or between two train times."""

METHODS = Registry(
    "forecast",
    Method(
        "persistence",
        "baseline",
        "the cells of the last time before the target",
        f"{_HERE}.baselines:Persistence",
        kinds=_BEYOND | _BETWEEN,
        default_baseline=True,
    ),
    Method(
        "pooled_past",
        "baseline",
        "the cells of all times before the target",
        f"{_HERE}.baselines:PooledPast",
        kinds=_BEYOND | _BETWEEN,
        default_baseline=True,
    ),
    Method(
        "damped_shift",
        "baseline",
        "the last change of the mean goes on, damped by what was best in the past",
        f"{_HERE}.baselines:DampedShift",
        kinds=_BEYOND,
        default_baseline=True,
    ),
    Method(
        "ot_linear",
        "baseline",
        "each cell moves on as it moved since its likely ancestor",
        f"{_HERE}.baselines:OTLinear",
        kinds=_BEYOND,
        default_baseline=True,
    ),
    Method(
        "var_ridge",
        "baseline",
        "ridge regression of descendants on ancestors",
        f"{_HERE}.baselines:VarRidge",
        kinds=_BEYOND,
        default_baseline=True,
    ),
    Method(
        "reversion",
        "baseline",
        "each gene returns towards its history as genes did in the past",
        f"{_HERE}.reversion:Reversion",
        kinds=_BEYOND,
        default_baseline=True,
    ),
    Method(
        "ridge_reversion",
        "baseline",
        "the movements of var_ridge and reversion together",
        f"{_HERE}.ridge_reversion:RidgeReversion",
        kinds=_BEYOND,
        default_baseline=True,
    ),
    Method(
        "ot_interpolation",
        "baseline",
        "cells half-way along optimal transport",
        f"{_HERE}.middle:OTInterpolation",
        kinds=_BETWEEN,
        default_baseline=True,
    ),
    Method(
        "neighbour_mixture",
        "baseline",
        "a mixture of the times on both sides",
        f"{_HERE}.middle:NeighbourMixture",
        kinds=_BETWEEN,
        default_baseline=True,
    ),
    Method(
        "auto",
        "model",
        "a mixture of the methods that predicted past times best, or persistence",
        f"{_HERE}.auto:Auto",
        kinds=_BEYOND | _BETWEEN,
    ),
    Method(
        "blend",
        "model",
        "cells on curves through all train times, mixed with cells of both sides",
        f"{_HERE}.blend:Blend",
        kinds=_BETWEEN,
    ),
    Method(
        "states",
        "model",
        "a Markov chain between groups of similar cells, and movement within the groups",
        f"{_HERE}.states:States",
        kinds=_BEYOND,
    ),
    Method(
        "flow", "model", "optimal-transport flow matching", f"{_HERE}.networks._flow:Flow", kinds=_BEYOND | _BETWEEN
    ),
    Method("lstm", "model", "LSTM on chains, predicts the change", f"{_HERE}.networks._sequence:LSTM", kinds=_BEYOND),
    Method(
        "feedforward",
        "model",
        "feed-forward network on chains, predicts the change",
        f"{_HERE}.networks._sequence:FeedForward",
        kinds=_BEYOND,
    ),
    Method(
        "lstm_published",
        "model",
        "LSTM as published, without skip connection",
        f"{_HERE}.networks._sequence:LSTMPublished",
        kinds=_BEYOND,
    ),
    Method(
        "feedforward_published",
        "model",
        "feed-forward network as published, without skip connection",
        f"{_HERE}.networks._sequence:FeedForwardPublished",
        kinds=_BEYOND,
    ),
)

__all__ = ["METHODS"]
