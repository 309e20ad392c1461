"""Sections of a report: the texts, tables and figures of one topic each; imports `report.values` and `analysis`."""
