"""How a node's disks are partitioned: a program answers, the answer is placed and checked, the plan becomes a script.

``model`` is what a program answers, ``default`` the program that came with bootserver, ``check`` what an answer may be,
``stays`` what of it is there already, ``space``, ``stack`` and ``place`` where it goes, ``plan`` what comes of it, ``shell``
and ``summary`` how a plan is written for the installer and for people.
"""
