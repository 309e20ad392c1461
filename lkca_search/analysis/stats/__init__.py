"""Statistics of replicates, (draws, seeds), as functions of arrays. May import `spec` and the root modules."""
