"""Readers of official archives, image folders and Parquet folders. May import the root and `environment`."""
