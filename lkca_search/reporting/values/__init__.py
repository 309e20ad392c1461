"""Tables, figures, sections, and numbers as text. May import `analysis` and `spec`."""
