"""Jobs that drive searches on a Ray cluster, submitted from outside; may import the root, `spec` and `records`."""
