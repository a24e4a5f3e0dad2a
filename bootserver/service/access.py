"""How the frontend reaches its nodes: an SSH key of its own, which nodes let in as root, beside those of the site's people."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bootserver.config import Config
from bootserver.errors import Unavailable

KEY = "id_ed25519"
_HEADER = """\
# Whose SSH keys nodes let in as root, from their next install on. The first one is the frontend's own (image push, capture and
# drift need it); add yours, one a line.
"""


def make_keys(config: Config, say: Callable[[str], None]) -> None:
    """Make the frontend's key and the list of those who are let in, where they are not there yet.

    :raises Unavailable: a key can't be made.
    """
    key, listed = config.frontend.keys / KEY, config.frontend.authorized_keys
    if not key.exists():
        program = shutil.which("ssh-keygen")
        if program is None:
            say("no SSH key of the frontend's own: install openssh-client and run init again (image push, capture, drift)")
            return
        made = subprocess.run(
            [program, "-q", "-t", "ed25519", "-N", "", "-C", f"bootserver@{config.frontend.name}", "-f", str(key)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            raise Unavailable(f"{key} can't be made: {made.stderr.strip()}")
        say(f"SSH key made: {key}")
    if not listed.exists():
        own = Path(f"{key}.pub").read_text().strip()
        people = [line for path in sorted(Path("/root/.ssh").glob("id_*.pub")) for line in path.read_text().splitlines()]
        listed.write_text(_HEADER + "\n".join(dict.fromkeys([own, *people])) + "\n")
        listed.chmod(0o644)
        say(f"authorized keys for nodes written: {listed} ({1 + len(people)})")
