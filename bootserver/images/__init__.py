"""Golden images on the frontend: made, imported, looked at, altered. An image is a file tree that nodes are installed from."""
