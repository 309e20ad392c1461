"""Results over several datasets in a report: section, figures, sentences. May import `reporting.sections` and below."""
