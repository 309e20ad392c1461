"""Choice of the backend of LKCA layers, measured once per node and shape; may import `records` and networks."""
