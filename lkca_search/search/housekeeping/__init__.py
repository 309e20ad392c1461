"""Removal, renaming and archives of whole searches. May import `records`, `data`, `tracking` and `state`, never Ray."""
