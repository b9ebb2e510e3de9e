"""The simple methods, each in a file."""
