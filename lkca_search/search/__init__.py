"""Commands `run`, `confirm`, `rerun`, `sync`. May import all below `analysis`, except `jobs` and `simulation`."""
