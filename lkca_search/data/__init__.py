"""Datasets, the store of decoded images, subsets, batches. May import `data/readers`, `spec` and the root modules."""
