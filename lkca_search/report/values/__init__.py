"""Tables, figures, sections and numbers as text; imports only `analysis`, `records` and `spec`."""
