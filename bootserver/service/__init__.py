"""Runs all of it as one service: a small supervisor with privileges, and parts without."""
