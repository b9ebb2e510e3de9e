"""The closed forms: one file a method."""
