"""A network whose latent coordinates add up: those of a control cell, its targets and its context."""
