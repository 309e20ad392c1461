"""Commands `run`, `confirm`, `sync`. May import all below `analysis`, except `jobs` and `simulation`."""
