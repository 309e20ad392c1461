"""Methods of a report, as for the appendix of a paper. May import `reporting.sections` and all below it."""
