"""``python -m bootserver`` is the same as ``bootserver``."""

from __future__ import annotations

from bootserver.cli.main import main

if __name__ == "__main__":
    main()
