"""Vectors of perturbations that are passed on along a graph of genes, for genes that were never perturbed."""
