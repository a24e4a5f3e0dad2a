"""bootserver: one service that takes a cluster's machines from power-on to work."""

__version__ = "0.1.0"
