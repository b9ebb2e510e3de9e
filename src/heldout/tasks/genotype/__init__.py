"""Which class does a cell's library or donor belong to? The methods, and how they are judged."""

from heldout._core.method import Method, Registry

METHODS = Registry(
    "genotype",
    Method("majority", "baseline", "class shares of the train cells", "heldout.tasks.genotype.baselines:Majority"),
    Method(
        "qc_logistic",
        "baseline",
        "logistic regression on library size and QC measures only",
        "heldout.tasks.genotype.baselines:QCLogistic",
    ),
    Method(
        "logistic",
        "baseline",
        "logistic regression on the genes of each cell",
        "heldout.tasks.genotype.baselines:CellLogistic",
    ),
    Method(
        "pseudobulk_logistic",
        "baseline",
        "logistic regression on the mean profile of each group",
        "heldout.tasks.genotype.baselines:PseudobulkLogistic",
    ),
    Method(
        "covariate_logistic",
        "baseline",
        "logistic regression on covariates such as the day only",
        "heldout.tasks.genotype.baselines:CovariateLogistic",
    ),
    Method(
        "nearest_centroid",
        "baseline",
        "the class with the nearest mean of group means",
        "heldout.tasks.genotype.group_baselines:NearestCentroid",
    ),
    Method(
        "pseudobulk_ridge",
        "baseline",
        "ridge regression on the mean profile of each group",
        "heldout.tasks.genotype.group_baselines:PseudobulkRidge",
    ),
    Method(
        "composition_logistic",
        "baseline",
        "logistic regression on the cell types of each group",
        "heldout.tasks.genotype.group_baselines:CompositionLogistic",
    ),
    Method(
        "pseudobulk_boosting",
        "baseline",
        "boosted trees on the mean profile of each group",
        "heldout.tasks.genotype.group_baselines:PseudobulkBoosting",
    ),
    Method(
        "mlp",
        "model",
        "multilayer perceptron (Model A), with an auxiliary head (Model B)",
        "heldout.tasks.genotype.networks._method:MLP",
    ),
    Method(
        "attention",
        "model",
        "a network that pools the cells of a group by gated attention",
        "heldout.tasks.genotype.networks._attention:Attention",
    ),
)

__all__ = ["METHODS"]
