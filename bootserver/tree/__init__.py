"""A file tree that is some system's root, looked at from outside: its files, and what system it is. Nothing of it is run."""
