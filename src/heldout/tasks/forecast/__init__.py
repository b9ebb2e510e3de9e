"""What will the cells look like at a time that was not measured? The methods, and how they are judged."""

from heldout._core.method import Method, Registry

_HERE = "heldout.tasks.forecast"

METHODS = Registry(
    "forecast",
    Method("persistence", "baseline", "the cells of the last time before the target", f"{_HERE}.baselines:Persistence"),
    Method("pooled_past", "baseline", "the cells of all times before the target", f"{_HERE}.baselines:PooledPast"),
    Method(
        "damped_shift",
        "baseline",
        "the last change of the mean goes on, damped by what was best in the past",
        f"{_HERE}.baselines:DampedShift",
    ),
    Method("ot_linear", "baseline", "each cell moves on as since its likely ancestor", f"{_HERE}.baselines:OTLinear"),
    Method("var_ridge", "baseline", "ridge regression of descendants on ancestors", f"{_HERE}.baselines:VarRidge"),
    Method(
        "reversion",
        "baseline",
        "each gene returns towards its history as genes did in the past",
        f"{_HERE}.reversion:Reversion",
    ),
    Method("ot_interpolation", "baseline", "cells half-way along optimal transport", f"{_HERE}.middle:OTInterpolation"),
    Method("neighbour_mixture", "baseline", "a mixture of the times on both sides", f"{_HERE}.middle:NeighbourMixture"),
    Method("flow", "model", "optimal-transport flow matching", f"{_HERE}.networks._flow:Flow"),
    Method("lstm", "model", "LSTM on chains, predicts the change", f"{_HERE}.networks._sequence:LSTM"),
    Method(
        "feedforward", "model", "feed-forward on chains, predicts the change", f"{_HERE}.networks._sequence:FeedForward"
    ),
    Method("lstm_published", "model", "LSTM as published, no skip", f"{_HERE}.networks._sequence:LSTMPublished"),
    Method(
        "feedforward_published",
        "model",
        "feed-forward as published, no skip",
        f"{_HERE}.networks._sequence:FeedForwardPublished",
    ),
)

KINDS = {
    **{method.name: frozenset({"forecast"}) for method in METHODS},
    **{name: frozenset({"forecast", "interpolation"}) for name in ("persistence", "pooled_past", "flow")},
    **{name: frozenset({"interpolation"}) for name in ("ot_interpolation", "neighbour_mixture")},
}
"""What each method can do: predict after the last train time, between two of them, or both."""

__all__ = ["KINDS", "METHODS"]
