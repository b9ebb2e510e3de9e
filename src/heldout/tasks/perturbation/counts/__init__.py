"""Counts of predicted cells and profiles: noise learnt on train cells, and draws."""
