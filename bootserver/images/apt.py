"""What apt and dpkg print, read as progress: how many packages there are, and how many of them are fetched, unpacked, set up."""

from __future__ import annotations

import re

from bootserver.values.progress import Progress

_PACKAGES = re.compile(r"(\d+) upgraded, (\d+) newly installed")
_STEPS = {"Get:": "fetching", "Unpacking": "installing", "Setting": "installing"}


class Reading:
    """Takes line after line, and says how far it is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._packages = 0
        self._step = ""
        self._done = 0

    def __call__(self, line: str) -> None:
        if found := _PACKAGES.match(line):
            self._packages = int(found.group(1)) + int(found.group(2))
            self._step = ""
            return
        word = line.split(" ", 1)[0]
        step = _STEPS["Get:"] if word.startswith("Get:") else _STEPS.get(word)
        if step is None or not self._packages:
            return
        if step != self._step:
            self._step, self._done = step, 0
        self._done += 1
        whole = self._packages if step == "fetching" else 2 * self._packages  # each is unpacked, and set up
        plural = "s" if self._packages != 1 else ""
        self._progress(f"{step} {self._packages} package{plural}", min(1.0, self._done / whole))
