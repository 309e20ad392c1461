"""Standard output and error of the commands: guarded streams, tables, JSON, progress. May import `reporting.values`."""
