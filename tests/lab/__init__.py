"""The end-to-end lab: real firmware in QEMU against the real service, in a network namespace of its own.

``namespace`` is the network, ``guest`` a machine in it, ``console`` what it says, ``disk`` what it has, ``ramdisk`` the
kernel that it boots, ``product`` the service under test, ``capture`` what was on the wire. Nothing here knows how
bootserver works inside: what it is asked goes through its command line.
"""
