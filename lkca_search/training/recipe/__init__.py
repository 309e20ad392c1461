"""Recipe of a training: optimizer, schedule, loss, precision; may import the root, spec, records, data and models."""
