"""Report of a search: values, sections, rendering and files. May import `analysis`, `records` and `spec`."""
