"""Methods of a report, as for the appendix of a paper. May import `report.sections` and all below it."""
