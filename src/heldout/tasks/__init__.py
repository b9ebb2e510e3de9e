"""Middle floor: one wing a question."""
