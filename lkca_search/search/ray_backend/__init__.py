"""Training of a queue's trials under Ray Tune. May import `driver`, `planning`, `state` and `training`."""
