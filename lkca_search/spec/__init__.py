"""Space files as validated values: sections, factors, parameters, cells. May import the root modules alone."""
