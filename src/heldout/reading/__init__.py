"""Read count matrices of libraries: find the files, select cells, and write a store."""
