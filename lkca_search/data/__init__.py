"""Images from their source to the batch: sources, the store, subsets, batches."""
