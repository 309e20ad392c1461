"""Shared parts of commands: arguments, streams, tables, JSON, progress. May import `reporting.values` and below."""
