"""Forecasts of cells and genes at times that nobody has seen."""
