"""What will a gene that the model has not seen do next? The methods, and how they are judged."""

from heldout._core.method import Method, Registry

_HERE = "heldout.tasks.forecast_genes"

METHODS = Registry(
    "forecast_genes",
    Method("persistence", "baseline", "the last value again", f"{_HERE}.baselines:Persistence", default_baseline=True),
    Method("mean", "baseline", "the mean change of the train genes", f"{_HERE}.baselines:Mean", default_baseline=True),
    Method(
        "linear", "baseline", "the last step goes on at its speed", f"{_HERE}.baselines:Linear", default_baseline=True
    ),
    Method(
        "ridge",
        "baseline",
        "ridge regression on the centred history",
        f"{_HERE}.baselines:Ridge",
        default_baseline=True,
    ),
    Method(
        "low_rank",
        "model",
        "ridge regression on the first components of history and last distribution",
        f"{_HERE}.baselines:LowRank",
    ),
    Method(
        "gaussian_process",
        "model",
        "Gaussian process, linear plus squared-exponential, on the same components",
        f"{_HERE}.gaussian_process:GaussianProcess",
    ),
    Method(
        "multi_kernel",
        "model",
        "Gaussian process on features, past courses and coexpression in cells",
        f"{_HERE}.multi_kernel:MultiKernel",
    ),
    Method(
        "coexpression",
        "model",
        "each gene from the train genes, over the cells of the history",
        f"{_HERE}.coexpression:Coexpression",
    ),
    Method(
        "stacked",
        "model",
        "multi_kernel, coexpression and gaussian_process, weighted by held-out train genes",
        f"{_HERE}.stacked:Stacked",
    ),
    Method("lstm", "model", "LSTMs on top of low_rank, an ensemble", f"{_HERE}.networks._method:LSTM"),
    Method("feedforward", "model", "feed-forward networks on top of low_rank", f"{_HERE}.networks._method:Feedforward"),
    Method(
        "lstm_published",
        "model",
        "LSTM of 128 and 64 units, without residual",
        f"{_HERE}.networks._method:PublishedLSTM",
    ),
    Method(
        "feedforward_published",
        "model",
        "feed-forward network of 128, 64 and 32 units, without residual",
        f"{_HERE}.networks._method:PublishedFeedforward",
    ),
)

__all__ = ["METHODS"]
