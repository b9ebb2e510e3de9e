"""Conditional flow matching of perturbed cells."""
