"""What does a perturbation do that was never seen? What is known of it from elsewhere."""
