"""What does a perturbation do that was not measured? The methods, and how they are judged."""

from heldout._core.method import Method, Registry

_METHODS = "heldout.tasks.perturbation.methods"
_NETWORKS = "heldout.tasks.perturbation.networks"

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
        "pooled_transfer",
        "baseline",
        "same perturbation in other contexts, weighted by reliability, shrunk towards the context mean",
        f"{_METHODS}.pooled_transfer:PooledTransfer",
        default_baseline=True,
        requires="contexts",
    ),
    Method(
        "dose_linear",
        "baseline",
        "changes linear in the logarithm of the dose",
        f"{_METHODS}.dose:DoseLinear",
        default_baseline=True,
        requires="doses",
    ),
    Method(
        "dose_isotonic",
        "baseline",
        "changes that only rise or only fall with the dose",
        f"{_METHODS}.dose:DoseIsotonic",
        default_baseline=True,
        requires="doses",
    ),
    Method(
        "informed_additive",
        "model",
        "latent_additive, shrunk towards what the vectors of the targets predict",
        f"{_METHODS}.informed_additive:InformedAdditive",
    ),
    Method(
        "vector_knn",
        "baseline",
        "mean of the train targets with the most similar vectors, without the common template",
        f"{_METHODS}.vector_knn:VectorKnn",
    ),
    Method(
        "vector_lasso",
        "baseline",
        "lasso on the vectors of the targets, without the common template",
        f"{_METHODS}.vector_lasso:VectorLasso",
    ),
    Method(
        "stacked",
        "model",
        "non-negative weights of several methods, from held-out perturbations of train",
        f"{_METHODS}.stacked:Stacked",
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
    Method(
        "residual_flow",
        "model",
        "composed_cells, corrected by a flow as far as held-out perturbations of train support it",
        f"{_NETWORKS}.residual._method:ResidualFlow",
    ),
    Method("flow", "model", "conditional flow matching of cells", f"{_NETWORKS}.flow._method:GeneFlow"),
    Method(
        "latent_additive_network",
        "model",
        "network whose latent coordinates of cell, targets and context add up",
        f"{_NETWORKS}.latent_additive._method:LatentAdditiveNetwork",
    ),
    Method(
        "compositional",
        "model",
        "autoencoder of cells with vectors of targets and contexts that add up",
        f"{_NETWORKS}.compositional._method:Compositional",
    ),
    Method(
        "graph",
        "model",
        "latent_additive_network with vectors of unseen targets from a graph of genes",
        f"{_NETWORKS}.graph._method:Graph",
    ),
    Method(
        "set_transport",
        "model",
        "attention over sets of control cells, trained on the distance between sets",
        f"{_NETWORKS}.set_transport._method:SetTransport",
    ),
)

__all__ = ["METHODS"]
