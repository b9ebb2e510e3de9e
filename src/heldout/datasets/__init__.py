"""Data sets for learning and testing: simulations with known truth, and public data by accession."""

from heldout.datasets._available import available
from heldout.datasets._branching import branching_cells, branching_simulated
from heldout.datasets._chu import chu16
from heldout.datasets._dose_series import doses_simulated
from heldout.datasets._lmna import lmna_simulated
from heldout.datasets._lmna_study import lmna
from heldout.datasets._perturbations import perturbation_profiles_simulated, perturbations_simulated
from heldout.datasets._screens import adamson16, norman19, replogle22, srivatsan20

__all__ = [
    "adamson16",
    "available",
    "branching_cells",
    "branching_simulated",
    "chu16",
    "doses_simulated",
    "lmna",
    "lmna_simulated",
    "norman19",
    "perturbation_profiles_simulated",
    "perturbations_simulated",
    "replogle22",
    "srivatsan20",
]
