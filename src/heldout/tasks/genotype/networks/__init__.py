"""Networks of the genotype wing, on scvi-tools base classes."""
