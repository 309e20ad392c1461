"""Aggregate of a search over its datasets: normalized differences, probability of improvement, performance profiles."""
