"""A flow of the residuals of composed cells, as strong as held-out perturbations of train allow."""
