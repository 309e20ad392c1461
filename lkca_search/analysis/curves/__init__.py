"""Learning curves, errors against training images, and comparisons of two curves; imports stats only."""
