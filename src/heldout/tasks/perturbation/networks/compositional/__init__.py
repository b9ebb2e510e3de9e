"""An autoencoder of cells with vectors of perturbations and contexts that add up, with an adversary or without."""
