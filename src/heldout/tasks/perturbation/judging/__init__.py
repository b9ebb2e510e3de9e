"""How predicted perturbations are judged: scores, intervals, baselines, ceilings and verdicts."""
