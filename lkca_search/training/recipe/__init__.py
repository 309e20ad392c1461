"""Recipe of a training: schedule, optimizer, precision; may import the root, spec, records, data and models."""
