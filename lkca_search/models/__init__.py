"""Image classifiers that differ in one thing, how tokens are mixed, and the registry that builds them."""
