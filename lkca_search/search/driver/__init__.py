"""Queue of trials with crash-safe commits. May import `studies`, `state` and `tracking`, never `training` or Ray."""
