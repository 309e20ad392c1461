"""Standard output and error of the commands: guarded streams, tables and JSON, progress; may import `report/values`."""
