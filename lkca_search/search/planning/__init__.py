"""Plan of a search before it starts: its size, cost, memory and duration. May import `training` and `studies`."""
