"""The audit of a split: one file an item, and a registry of items."""
