"""Attention over sets of control cells, trained on the distance of the predicted set to a measured set."""
