"""Which class does a cell's library or donor belong to? The methods, and how they are judged."""

from heldout._core.registry import Method, Registry

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
        "mlp",
        "model",
        "multilayer perceptron (Model A), with an auxiliary head (Model B)",
        "heldout.tasks.genotype.networks._method:MLP",
    ),
)

__all__ = ["METHODS"]
