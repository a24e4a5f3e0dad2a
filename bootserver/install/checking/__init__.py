"""Checks of rendered answer files, by the tools that know their languages: each a program of its own, started here."""
