"""Space files as validated values: sections, factors, parameters, cells. May import the root and `spec.reading`."""
