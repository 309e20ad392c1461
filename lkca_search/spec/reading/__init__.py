"""Reading of space files within limits: the file, its YAML, and the largest numbers. May import the root modules."""
