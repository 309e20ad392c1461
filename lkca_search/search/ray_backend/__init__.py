"""Backend that trains a driver's trials under Ray Tune; may import all below it. Only `search.run` imports it."""
