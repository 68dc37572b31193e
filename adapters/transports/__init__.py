"""Ways to a destination. A connector says by which its requests go; HTTP is in `adapters/http`."""
