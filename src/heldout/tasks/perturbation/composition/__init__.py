"""Cells of a perturbation that was not measured, composed of measured cells."""
