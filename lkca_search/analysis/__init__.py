"""What the records say: statistics with the subset draw as the unit, and learning curves."""
