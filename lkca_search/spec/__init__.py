"""Space files as validated values: sections, factors, parameters, cells. Imports errors, paths and layout only."""
