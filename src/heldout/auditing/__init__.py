"""The audit of a split. Each item has its own file; the registry lists all items."""
