"""Networks in plain torch: LKCA, its backbone, other mixers and baselines. May import `spec` and the root modules."""
