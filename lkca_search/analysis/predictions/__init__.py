"""Predictions per test image: classes, confusions, agreement and calibration. May import `analysis` and below."""
