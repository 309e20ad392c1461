"""Driver of a search: the queue of trials and its crash-safe commits; may import all below it, and never Ray."""
