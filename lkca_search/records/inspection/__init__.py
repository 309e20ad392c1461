"""Inspections of replicates: weights between tokens, receptive fields, their radii and files. Needs records only."""
