"""Rendering of a report: HTML by Plotly, paper figures by matplotlib. May import `reporting.values` and the root."""
