"""Data directories, lists, shards and the loader that turns them into batches."""
