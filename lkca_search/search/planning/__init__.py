"""Size, cost, memory and duration of a search before it starts. May import `training`, `studies` and `state`."""
