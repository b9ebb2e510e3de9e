"""What networks of perturbations share."""
