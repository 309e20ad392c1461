"""Report of a search: values, sections, rendering and files; imports `analysis`, `records` and `spec`."""
