"""From what a search has left to a report that can be read, checked and printed."""
