"""Commands `run`, `confirm`, `sync`, `inspect`. May import `reporting` and below, except `jobs` and `simulation`."""
