"""Single trials of a search: their curves, and their places on the axes of parallel coordinates."""
