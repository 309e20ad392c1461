"""Inspection of a trained model: kernels, attention by relative position, receptive field. Needs torch and records."""
