"""Rendering of a report: HTML with Plotly, paper figures with matplotlib. May import `report.values` and the root."""
