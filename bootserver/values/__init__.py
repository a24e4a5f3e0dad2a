"""Values of the field that every room shares: types instead of strings. The lowest room; it imports nothing of ours but errors."""
