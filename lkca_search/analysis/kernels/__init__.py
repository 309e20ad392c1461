"""Numbers on kernels, attention and receptive fields of a round: means, intervals over draws, trends."""
