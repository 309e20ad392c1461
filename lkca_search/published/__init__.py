"""Results of a search as a folder of Parquet files that can be published. May import `analysis` and all below it."""
