"""What runs inside the sandbox of a partition program, in a process of its own: the standard library and nothing else of ours.

``cell`` builds the walls, ``running`` runs the program between them, ``bootserver_partition`` and ``rocks_partition`` are the
modules that programs import. The frontend sends all of it along with the program, compiled
(:mod:`bootserver.install.partition.sandbox`), so that nothing of ours has to be seen in there.
"""
