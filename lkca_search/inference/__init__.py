"""Use of kept models: their place, classes of any images, stored test predictions, export; may import `training`."""
