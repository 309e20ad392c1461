"""Sections on the predictions per test image. May import `reporting.sections` and below."""
