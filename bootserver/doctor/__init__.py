"""Looks at an installation as a node would see it, and follows one machine's boot: what is wrong, why, and what mends it."""
