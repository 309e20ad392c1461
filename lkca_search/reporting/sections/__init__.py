"""Sections of a report: texts, tables and figures of one topic each. May import `reporting.values` and `analysis`."""
