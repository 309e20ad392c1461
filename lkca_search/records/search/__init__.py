"""Files of a whole search besides its records: datasets, unique id, looks at test images. May import `records`."""
