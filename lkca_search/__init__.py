"""LKCA Search: how image classifiers behave as training data gets scarce, and whether LKCA helps."""

__version__ = "0.1.0"
