"""The list of the data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from heldout._core.tables import prints_whole
from heldout.datasets import _chu, _lmna_study, _screens
from heldout.datasets._download import cache_dir

if TYPE_CHECKING:
    import os

_SIMULATED = {
    "lmna_simulated": "libraries on seven days",
    "branching_simulated": "two branches over time",
    "perturbations_simulated": "singles and doubles",
    "perturbation_profiles_simulated": "profiles without cells",
    "doses_simulated": "several doses",
}

_PUBLIC = (
    ("lmna", "", "LMNA patient and sister, 12 libraries", _lmna_study.URL, None, None, None),
    ("chu16", "", "stem cell to endoderm, six times", _chu.URL, 758, 19_189, None),
    ("norman19", "", "pairs of genes, activation", _screens.NORMAN.url, 111_445, 33_694, 0.7),
    (
        "adamson16",
        "",
        "unfolded protein response",
        _screens.ADAMSON.url,
        65_337,
        32_738,
        0.5,
    ),
    ("replogle22", 'cell_line="K562"', "essential genes", _screens.REPLOGLE["K562"].url, 310_385, 8_563, 1.5),
    ("replogle22", 'cell_line="RPE1"', "essential genes", _screens.REPLOGLE["RPE1"].url, 247_914, 8_749, 1.2),
    ("srivatsan20", "", "188 compounds, four doses", _screens.SRIVATSAN.url, 799_317, 110_983, 2.5),
)
"""Name, arguments, content, address, cells, genes and gigabytes of the file."""


@prints_whole
def available(*, folder: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """List the data sets: what they are, their size, and whether they were downloaded.

    Parameters
    ----------
    folder
        Folder of the downloads. If None, ``HELDOUT_CACHE_DIR`` or else ``~/.cache/heldout``.

    Returns
    -------
    One row for each data set. Index: ``call``, the function with its arguments. Columns: ``content``; ``n_obs`` and
    ``n_vars``, missing where the arguments decide; ``download_gb``, the size of the file in gigabytes, 0 for
    simulations and missing where it is not known; ``here``, whether no download is needed.

    Examples
    --------
    >>> import heldout as ho
    >>> table = ho.datasets.available()
    >>> table.query("download_gb < 0.6").index[-1]
    'adamson16()'
    """
    place = cache_dir() if folder is None else Path(folder)
    rows: list[tuple[str, str, int | None, int | None, float | None, bool]] = [
        (f"{name}()", f"simulated: {content}", None, None, 0.0, True) for name, content in _SIMULATED.items()
    ]
    for name, arguments, content, url, n_obs, n_vars, size in _PUBLIC:
        here = (place / url.rsplit("/", 1)[1]).is_file()
        rows.append((f"{name}({arguments})", content, n_obs, n_vars, size, here))
    table = pd.DataFrame(rows, columns=["call", "content", "n_obs", "n_vars", "download_gb", "here"])
    return table.astype({"n_obs": "Int64", "n_vars": "Int64", "download_gb": "Float64"}).set_index("call")
