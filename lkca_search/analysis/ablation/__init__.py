"""Effects of hyperparameters, and the probability that a level is best."""
