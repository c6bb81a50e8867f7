"""The networks, the builders that make them from configs, and their weights."""
