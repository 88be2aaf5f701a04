"""The subscriber in the README works as it stands there."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .children import wait_for
from .test_tail import Daemon

README = Path(__file__).parents[2] / "README.md"


def snippet() -> str:
    """Return the first Python block under the heading "Subscribe"."""
    section = README.read_text().split("## Subscribe", 1)[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_the_subscriber_in_the_readme_loses_nothing_over_a_restart() -> None:
    """Run as printed, but for the endpoints: what was, what comes, what came while nobody was there."""
    with tempfile.TemporaryDirectory(prefix="lep") as path:
        folder = Path(path)
        code = snippet()
        for port, name in ((5570, "publish"), (5571, "replay")):
            assert f"tcp://127.0.0.1:{port}" in code
            code = code.replace(f"tcp://127.0.0.1:{port}", f"ipc://{folder}/{name}")
        daemon = Daemon(folder)
        daemon.turn(tell=3)
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as subscriber:
            try:
                assert subscriber.stdout is not None
                os.set_blocking(subscriber.stdout.fileno(), False)
                printed = bytearray()

                def numbers() -> list[int]:
                    daemon.turn()
                    printed.extend(subscriber.stdout.read() or b"")  # type: ignore[union-attr]
                    return [int(n) for n in re.findall(rb"'type': 'media', 'seq': (\d+)", printed)]

                wait_for(lambda: numbers() == [1, 2, 3], "what was")
                daemon.turn(tell=2)
                wait_for(lambda: numbers() == [1, 2, 3, 4, 5], "what comes")
                daemon.turn(tell=2)
                daemon.close()
                daemon = Daemon(folder)
                daemon.turn(tell=1)
                wait_for(lambda: numbers() == list(range(1, 9)), "what came over the restart")
            finally:
                subscriber.kill()
                daemon.close()
