"""Learning curves (error against training images) and their comparison. May import `analysis.stats` and `spec`."""
