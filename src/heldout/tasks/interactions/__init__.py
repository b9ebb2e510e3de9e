"""Which combinations of perturbations do more or less than the sum of their members?"""
