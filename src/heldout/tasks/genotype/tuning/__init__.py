"""Many fits of one method or of several: grids of options, searches, folds and seeds, and permuted labels."""
