"""What does a perturbation do that was not measured? The methods, and how they are judged."""

from heldout._core.method import Method, Registry

_HERE = "heldout.tasks.perturbation"

METHODS = Registry(
    "perturbation",
    Method("no_change", "baseline", "the controls of the context", f"{_HERE}.methods.baselines:NoChange"),
    Method("mean", "baseline", "the mean change of the train perturbations", f"{_HERE}.methods.baselines:Mean"),
    Method(
        "mean_of_cells",
        "baseline",
        "the mean change of the perturbed train cells",
        f"{_HERE}.methods.baselines:MeanOfCells",
    ),
    Method("context_mean", "baseline", "the mean change in the context", f"{_HERE}.methods.baselines:ContextMean"),
    Method("transfer", "baseline", "the same perturbation in other contexts", f"{_HERE}.methods.baselines:Transfer"),
    Method(
        "additive", "baseline", "the sum of the changes of the single targets", f"{_HERE}.methods.baselines:Additive"
    ),
    Method("linear", "baseline", "Y = G W Pᵀ + b, in vectors of genes and targets", f"{_HERE}.methods.linear:Linear"),
    Method(
        "latent_additive",
        "baseline",
        "effects of targets by ridge regression, in the components of the train changes",
        f"{_HERE}.methods.latent_additive:LatentAdditive",
    ),
    Method(
        "informed_additive",
        "model",
        "latent_additive, drawn to what the vectors of the targets foretell",
        f"{_HERE}.methods.informed_additive:InformedAdditive",
    ),
    Method("nearest", "baseline", "the most similar train perturbation", f"{_HERE}.methods.nearest:Nearest"),
)

__all__ = ["METHODS"]
