"""What does a perturbation do that was not measured? The methods, and how they are judged."""

from heldout._core.method import Method, Registry

_METHODS = "heldout.tasks.perturbation.methods"

METHODS = Registry(
    "perturbation",
    Method("no_change", "baseline", "controls of the context", f"{_METHODS}.baselines:NoChange", default_baseline=True),
    Method(
        "mean",
        "baseline",
        "mean change of the train perturbations",
        f"{_METHODS}.baselines:Mean",
        default_baseline=True,
    ),
    Method(
        "mean_of_cells", "baseline", "mean change of the perturbed train cells", f"{_METHODS}.baselines:MeanOfCells"
    ),
    Method(
        "additive",
        "baseline",
        "sum of the changes of the single targets",
        f"{_METHODS}.baselines:Additive",
        default_baseline=True,
    ),
    Method(
        "linear",
        "baseline",
        "Y = G W Pᵀ + b, with vectors of genes and targets",
        f"{_METHODS}.linear:Linear",
        default_baseline=True,
    ),
    Method(
        "latent_additive",
        "baseline",
        "effects of targets by ridge regression, in components of the train changes",
        f"{_METHODS}.latent_additive:LatentAdditive",
        default_baseline=True,
    ),
    Method(
        "context_mean",
        "baseline",
        "mean change in the context",
        f"{_METHODS}.baselines:ContextMean",
        default_baseline=True,
        requires="contexts",
    ),
    Method(
        "transfer",
        "baseline",
        "same perturbation in other contexts",
        f"{_METHODS}.baselines:Transfer",
        default_baseline=True,
        requires="contexts",
    ),
    Method(
        "informed_additive",
        "model",
        "latent_additive, shrunk towards what the vectors of the targets predict",
        f"{_METHODS}.informed_additive:InformedAdditive",
    ),
    Method("nearest", "baseline", "most similar train perturbation", f"{_METHODS}.nearest:Nearest"),
    Method(
        "moved_cells",
        "baseline",
        "measured cells of the nearest perturbation, moved by the missing change",
        f"{_METHODS}.moved_cells:MovedCells",
        default_baseline=True,
        requires="cells",
    ),
    Method(
        "composed_cells",
        "model",
        "measured cells, moved by their responses to the missing targets, with the mean of the best closed form",
        f"{_METHODS}.composed_cells:ComposedCells",
    ),
)

__all__ = ["METHODS"]
