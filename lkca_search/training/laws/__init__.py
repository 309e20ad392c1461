"""Laws that your own code must keep before a search starts. May import what `training` imports, and `training`."""
