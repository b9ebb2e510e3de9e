"""Does a cell come from a patient or from a control? The methods that classify, and how they are judged."""

from heldout._core.method import Method, Registry

_HERE = "heldout.tasks.genotype"

METHODS = Registry(
    "genotype",
    Method(
        "majority", "baseline", "class shares of the train cells", f"{_HERE}.baselines:Majority", default_baseline=True
    ),
    Method(
        "qc_logistic",
        "baseline",
        "logistic regression on library size and QC measures only",
        f"{_HERE}.baselines:QCLogistic",
        default_baseline=True,
    ),
    Method(
        "logistic",
        "baseline",
        "logistic regression on the genes of each cell",
        f"{_HERE}.baselines:CellLogistic",
        default_baseline=True,
    ),
    Method(
        "pseudobulk_logistic",
        "baseline",
        "logistic regression on the mean profile of each group",
        f"{_HERE}.baselines:PseudobulkLogistic",
        default_baseline=True,
    ),
    Method(
        "covariate_logistic",
        "baseline",
        "logistic regression on covariates such as the day only",
        f"{_HERE}.baselines:CovariateLogistic",
        default_baseline=True,
        requires="covariates",
    ),
    Method(
        "nearest_centroid",
        "baseline",
        "the class with the nearest mean of group means",
        f"{_HERE}.group_baselines:NearestCentroid",
    ),
    Method(
        "pseudobulk_ridge",
        "baseline",
        "ridge regression on the mean profile of each group",
        f"{_HERE}.group_baselines:PseudobulkRidge",
    ),
    Method(
        "composition_logistic",
        "baseline",
        "logistic regression on the cell types of each group",
        f"{_HERE}.group_baselines:CompositionLogistic",
        default_baseline=True,
        requires="cell_types",
    ),
    Method(
        "pseudobulk_boosting",
        "baseline",
        "boosted trees on the mean profile of each group",
        f"{_HERE}.group_baselines:PseudobulkBoosting",
    ),
    Method(
        "pseudobulk_shrunken",
        "baseline",
        "logistic regression on the mean profile of each group, shrunk by its number of cells",
        f"{_HERE}.shrunken:PseudobulkShrunken",
    ),
    Method(
        "celltype_pseudobulk",
        "baseline",
        "logistic regression on the mean profile of each cell type of each group, shrunk towards the group's mean",
        f"{_HERE}.celltypes:CellTypePseudobulk",
    ),
    Method(
        "mean_embedding",
        "baseline",
        "logistic regression on the kernel mean embedding of each group",
        f"{_HERE}.embedding:MeanEmbedding",
    ),
    Method(
        "pathway_logistic",
        "baseline",
        "logistic regression on scores of gene sets in the mean profile of each group",
        f"{_HERE}.pathways:PathwayLogistic",
    ),
    Method(
        "stacked",
        "baseline",
        "weighted sum of simple methods, with weights from left-out groups of train",
        f"{_HERE}.stacked:StackedMethods",
    ),
    Method(
        "tabpfn",
        "baseline",
        "pretrained network for tables on the mean profile of each group; needs the package tabpfn",
        f"{_HERE}.tabular:TabPFN",
    ),
    Method(
        "auto",
        "baseline",
        "average of simple methods, weighted by how well they predict left-out groups of train",
        f"{_HERE}.auto:Auto",
    ),
    Method(
        "mlp",
        "model",
        "multilayer perceptron (Model A), with an auxiliary head (Model B)",
        f"{_HERE}.networks._method:MLP",
    ),
    Method(
        "attention",
        "model",
        "network that pools the cells of a group by gated attention",
        f"{_HERE}.networks._attention:Attention",
    ),
    adapters=(
        Method("estimator", "model", "an estimator on cells", f"{_HERE}.estimators.adapters:CellEstimator"),
        Method(
            "pseudobulk_estimator",
            "model",
            "an estimator on the mean profile of each group",
            f"{_HERE}.estimators.adapters:PseudobulkEstimator",
        ),
    ),
)

__all__ = ["METHODS"]
