"""Estimators of scikit-learn as methods: what a user passes, how it is fitted, and what is stored of it."""
