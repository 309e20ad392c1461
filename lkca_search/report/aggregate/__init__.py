"""Results over several datasets in a report: section, figures and sentences. May import `report.sections` and below."""
