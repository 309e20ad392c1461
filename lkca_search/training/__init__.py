"""Training of one configuration: assembly, loop, evaluation, checkpoints. May import `records`, `data` and `models`."""
