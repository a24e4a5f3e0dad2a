"""Values of the field that every room shares: types instead of strings. The lowest room; it imports only our errors."""
