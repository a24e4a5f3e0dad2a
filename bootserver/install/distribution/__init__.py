"""A distribution's install tree: what it is (found out, never asked), how its installer is booted, and an ISO unpacked into one.

A tree comes from anywhere, so it is only ever read by :mod:`bootserver.tree.inside`, and an ISO is read by a program that is
nobody. What a distribution is in the cluster is :mod:`bootserver.cluster.distributions`'s business.
"""
