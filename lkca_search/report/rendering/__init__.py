"""Page and files of a report: HTML with Plotly, and figures by matplotlib; imports only `report.values`."""
