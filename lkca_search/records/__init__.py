"""Results as values and files: trials, records, rounds, Parquet tables. May import `spec` and `environment`."""
