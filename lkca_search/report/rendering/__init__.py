"""Rendering of a report: HTML with Plotly, figures for a paper with matplotlib. May import `report.values` alone."""
