"""All benchmarks, one after the other: `make bench`. Half an hour (--quick: ten minutes), on a machine that does nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARKS = ("tftp", "menus", "dhcp", "http", "boot", "install", "names", "follow", "cli")
WITHOUT_QUICK = ("boot", "install", "names", "follow", "cli")


def main() -> int:
    missed = []
    for name in BENCHMARKS:
        print(f"\n== {name}", flush=True)
        options = [] if name in WITHOUT_QUICK else sys.argv[1:]
        if subprocess.run([sys.executable, HERE / f"{name}.py", *options], check=False).returncode:
            missed.append(name)
    print(f"\nmissed an aim: {', '.join(missed)}" if missed else "\nall aims met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
