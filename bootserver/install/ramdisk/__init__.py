"""The small Linux that installs nodes: the distribution's kernel, and a ramdisk of its programs, its drivers and our scripts."""
