"""Options of the genotype methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heldout._core.options import Config, option
from heldout.tasks.genotype.gene_sets import as_gene_sets

Activation = Literal["relu", "tanh"]
Optimizer = Literal["adam", "sgd"]
Monitor = Literal["group_loss", "cell_auc"]


@dataclass(frozen=True)
class LogisticConfig(Config):
    """Options of the logistic baselines.

    The default is plain logistic regression of scikit-learn. ``LogisticConfig(C="auto", balanced=True,
    equal_groups=True, calibrated=True)`` averages over penalties with temperatures, both from left-out groups of train.

    Parameters
    ----------
    C
        Inverse strength of the L2 penalty. With ``auto`` the logits are an average over ``Cs``. The weight of each
        penalty is the square root of the likelihood of train groups that inner folds leave out. If groups are not
        known, the usual value is taken.
    balanced
        Whether classes have the same weight.
    equal_groups
        Whether each group counts once. The weights of its cells then sum to one, so a number for ``C`` does not depend
        on the number of cells. Methods on group means have one row for each group, so they count each group once
        anyway; the option matters to them for groups with cells of several classes.
    calibrated
        Whether logits are divided by the temperature that is best for the left-out groups. Each penalty has its own.
    Cs
        Penalties of ``C="auto"``. The unit is one over the mean squared length of a centred row (a cell of
        ``logistic``, a mean profile of ``pseudobulk_logistic``).
    max_iter
        Maximum number of iterations of the solver.
    """

    C: float | Literal["auto"] = option(1.0, above=0)
    balanced: bool = False
    equal_groups: bool = False
    calibrated: bool = False
    Cs: tuple[float, ...] = option((0.01, 0.1, 1.0, 10.0, 100.0, 1000.0), above=0)
    max_iter: int = option(1000, at_least=1)


@dataclass(frozen=True)
class RidgeConfig(Config):
    """Options of the ridge regression on group means.

    Parameters
    ----------
    alphas
        Candidate penalties. The best one is chosen by leave-one-out over groups. The unit is the mean squared distance
        of a group from the mean of all groups.
    """

    alphas: tuple[float, ...] = option((0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0), above=0)


@dataclass(frozen=True)
class ShrunkenConfig(Config):
    """Options of the logistic regression on shrunken group means.

    Parameters
    ----------
    Cs
        Inverse strengths of the L2 penalty, over which logits are averaged as in :class:`LogisticConfig`. The unit is
        one over the mean squared length of a shrunken profile.
    balanced, calibrated, max_iter
        As in :class:`LogisticConfig`. Each group always counts once.
    """

    Cs: tuple[float, ...] = option((0.01, 0.1, 1.0, 10.0, 100.0, 1000.0), above=0)
    max_iter: int = option(1000, at_least=1)
    balanced: bool = True
    calibrated: bool = True


@dataclass(frozen=True)
class CellTypeConfig(ShrunkenConfig):
    """Options of the logistic regression on the means of cell types: those of :class:`ShrunkenConfig`, and two more.

    Parameters
    ----------
    Cs, max_iter
        As in :class:`ShrunkenConfig`.
    n_clusters
        Number of clusters of train cells, if there is no ``cell_type_key``.
    n_comps
        Number of principal components in which cells are clustered.
    """

    n_clusters: int = option(8, at_least=1)
    n_comps: int = option(20, at_least=1)


@dataclass(frozen=True)
class EmbeddingConfig(ShrunkenConfig):
    """Options of the logistic regression on kernel mean embeddings: those of :class:`ShrunkenConfig`, and four more.

    Parameters
    ----------
    Cs, max_iter
        As in :class:`ShrunkenConfig`.
    n_comps
        Number of principal components of the train cells.
    n_features
        Number of random frequencies for each bandwidth. Each gives a cosine and a sine.
    bandwidths
        Bandwidths of the Gaussian kernels, in units of the median distance between train cells.
    whiten
        Give all components the same variance.
    """

    n_comps: int = option(10, at_least=1)
    n_features: int = option(200, at_least=1)
    bandwidths: tuple[float, ...] = option((0.5, 1.0, 2.0), above=0)
    whiten: bool = False


@dataclass(frozen=True)
class PathwayConfig(ShrunkenConfig):
    """Options of the logistic regression on scores of gene sets: those of :class:`ShrunkenConfig`, and three more.

    Parameters
    ----------
    Cs, max_iter
        As in :class:`ShrunkenConfig`.
    gene_sets
        A mapping from names of sets to genes; a DataFrame with one row for each set and gene, in the columns ``source``
        and ``target`` (as in decoupler; weights are not used) or ``set`` and ``gene``; or the path of a GMT file. It is
        kept as a mapping, and stored with the fit. The method cannot be fitted without.
    score
        Score of a set: ``mean`` of its standardised genes, or their first principal ``component`` over the train
        groups.
    min_genes
        Sets with fewer genes in the data are left out, with a warning.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.model.PathwayConfig(gene_sets={"interferon": ["ISG15", "IFI6"]}, min_genes=2).gene_sets
    {'interferon': ('ISG15', 'IFI6')}
    """

    gene_sets: dict[str, tuple[str, ...]] | None = None
    score: Literal["mean", "component"] = "mean"
    min_genes: int = option(5, at_least=1)

    def __post_init__(self) -> None:
        if self.gene_sets is not None:
            object.__setattr__(self, "gene_sets", as_gene_sets(self.gene_sets))
        super().__post_init__()


@dataclass(frozen=True)
class StackedGroupsConfig(Config):
    """Options of the stack of simple methods.

    Parameters
    ----------
    members
        Names of the methods that are stacked, with their default options. They must read genes.
    strength
        Strength of the shrinkage towards equal weights. With n train groups and k members, giving all the weight to a
        single member costs strength · (k − 1) / n nats.
    """

    members: tuple[str, ...] = (
        "nearest_centroid",
        "pseudobulk_logistic",
        "pseudobulk_shrunken",
        "celltype_pseudobulk",
        "mean_embedding",
    )
    strength: float = option(1.0, at_least=0)


@dataclass(frozen=True)
class AutoGroupsConfig(Config):
    """Options of the average over methods.

    Parameters
    ----------
    candidates
        Names of the methods, with their default options. They must read genes.
    """

    candidates: tuple[str, ...] = (
        "pseudobulk_logistic",
        "pseudobulk_shrunken",
        "logistic",
        "celltype_pseudobulk",
        "mean_embedding",
    )


@dataclass(frozen=True)
class TabPFNConfig(Config):
    """Options of TabPFN on group means.

    Parameters
    ----------
    n_comps
        Number of principal components of the group means. There are at most as many as train groups less one.
    n_estimators
        Number of predictions with other orders of columns and classes that are averaged.
    device
        Device of torch: ``auto``, ``cpu`` or ``cuda``.
    """

    n_comps: int = option(50, at_least=1, at_most=500, hint="the network reads up to 500 columns")
    n_estimators: int = option(8, at_least=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class BoostingConfig(Config):
    """Options of the boosted trees on group means.

    With a dozen groups, only trees of depth 1 can be fitted reliably.

    Parameters
    ----------
    n_trees
        Number of boosting steps.
    max_depth
        Depth of each tree.
    lr
        Learning rate.
    max_features
        Share of the genes that each split chooses from. The genes are drawn again for each split.
    """

    n_trees: int = option(100, at_least=1)
    max_depth: int = option(1, at_least=1)
    lr: float = option(0.1, above=0)
    max_features: float = option(0.1, above=0, at_most=1)


@dataclass(frozen=True)
class MLPConfig(Config):
    """Options of the multilayer perceptron.

    ``heldout.tl.sweep(grid="lmna")`` has the options of the LMNA classifier study, whose networks are wider.

    Parameters
    ----------
    n_hidden
        Width of each hidden layer.
    n_layers
        Number of hidden layers. Each is linear → batch norm → activation → dropout.
    dropout
        Share of units that are set to zero in training.
    activation
        ``relu`` or ``tanh``.
    optimizer
        ``adam`` or ``sgd`` (momentum 0), both with decoupled weight decay.
    lr
        Learning rate.
    weight_decay
        Decoupled weight decay :cite:p:`loshchilov2019`: a step multiplies weights by ``1 - lr * weight_decay``.
    batch_size
        Number of cells in a batch.
    max_epochs
        Maximum number of passes over the train cells.
    patience
        Training stops after this number of epochs without a better value of ``monitor``.
    monitor
        What decides when to stop, and which epoch is best. ``group_loss`` is the log-loss of left-out groups, where a
        group is predicted by the mean logit of its cells and counts once. If groups are not known, the log-loss of val
        cells takes its place. ``cell_auc`` is the AUC of all val cells, as in the LMNA study.
    n_inner_folds
        If val does not have every class, the groups of train are divided into this number of folds, as far as classes
        allow. One network is trained without each fold, and stops on it; probabilities of the networks are averaged.
        With 0 there is one network. It stops on val if there is one, and else after ``max_epochs``.
    calibrated
        Whether logits are divided by the temperature that is best on the left-out groups.
    alpha
        Weight of the auxiliary loss (Model B): loss = label loss + alpha × auxiliary loss.
    reversal
        Reverse the gradient of the auxiliary loss where it enters the trunk :cite:p:`ganin2016`. The trunk then forgets
        the auxiliary class (the day) instead of learning it.
    balanced
        Whether classes have the same weight, and within a class each group. Cells are drawn so that the numbers of
        cells do not matter. Rows of a dask array are not drawn anew; they have weights in the loss instead.
    n_members
        Number of networks in the ensemble. They are trained from different seeds, and their probabilities are averaged.
    """

    n_hidden: int = option(128, at_least=1)
    n_layers: int = option(2, at_least=1)
    dropout: float = option(0.3, at_least=0, below=1)
    activation: Activation = "relu"
    optimizer: Optimizer = "adam"
    lr: float = option(1e-3, above=0)
    weight_decay: float = option(0.01, at_least=0)
    batch_size: int = option(256, at_least=2, hint="batch norm needs two cells")
    max_epochs: int = option(40, at_least=1)
    patience: int = option(4, at_least=1)
    monitor: Monitor = "group_loss"
    n_inner_folds: int = option(3, at_least=0)
    calibrated: bool = True
    alpha: float = option(0.3, at_least=0)
    reversal: bool = False
    balanced: bool = True
    n_members: int = option(1, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_inner_folds == 1:
            msg = f"{type(self).__name__}: n_inner_folds=1 must be 0, or an integer >= 2."
            raise ValueError(msg)


@dataclass(frozen=True)
class AttentionConfig(MLPConfig):
    """Options of the attention network, which classifies whole groups: those of :class:`MLPConfig`, and two more.

    Parameters
    ----------
    n_hidden, n_layers, dropout, activation, optimizer, lr, weight_decay, max_epochs, patience, monitor
        As in :class:`MLPConfig`.
    n_inner_folds, calibrated, alpha, reversal, balanced, n_members
        As in :class:`MLPConfig`. Groups are always drawn with equal weight. ``balanced`` decides only whether classes
        have equal weight in the log-loss of left-out groups.
    batch_size
        Number of cells in a bag. A bag is a random sample of the cells of one train group. A batch has ``n_bags`` bags.
    n_attention
        Width of the gated attention :cite:p:`ilse2018`.
    n_bags
        Number of bags in a batch. The classes take turns.
    """

    n_hidden: int = option(64, at_least=1)
    n_layers: int = option(1, at_least=1)
    lr: float = option(3e-3, above=0)
    batch_size: int = option(64, at_least=2, hint="batch norm needs two cells")
    n_attention: int = option(32, at_least=1)
    n_bags: int = option(8, at_least=1)
