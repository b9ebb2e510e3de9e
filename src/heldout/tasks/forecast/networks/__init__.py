"""Networks of the forecast wing, on scvi-tools base classes."""
