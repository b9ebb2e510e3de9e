"""Count matrices of libraries: what is in a file, which cells are kept, and the store they are written to."""
