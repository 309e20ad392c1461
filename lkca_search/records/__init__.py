"""Results as values and files: trials, records, rounds of confirmation, Parquet tables. Imports spec and below."""
