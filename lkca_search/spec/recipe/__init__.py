"""Rules, defaults and normal form of recipes: the names of a configuration that decide its training."""
