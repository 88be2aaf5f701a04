"""The demo as a user runs it: simulated camera, daemon, shipped model, alerts, and files that play."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import av


def test_the_demo_ends_well_and_names_a_clip_that_plays() -> None:
    """Exit code 0, alerts on the way, and in the summary a clip with pictures in it."""
    with tempfile.TemporaryDirectory(prefix="lepton-demo") as name:  # sockets want a short path
        folder = Path(name) / "demo"
        command = [sys.executable, "-m", "daemon.cli", "demo", "--seconds", "30", "--folder", str(folder)]

        done = subprocess.run(command, capture_output=True, text=True, timeout=160, check=False)

        log = folder / "leptond.log"
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text()[-4000:] if log.is_file() else "")
        assert "ALERT  person at gate" in done.stdout
        clip, seconds = re.findall(r"^  clip +(\S+) \((\d+\.\d) s\)$", done.stdout, re.MULTILINE)[0]
        with av.open(clip) as container:
            assert sum(1 for _ in container.decode(video=0)) > 10
        assert float(seconds) > 1
        assert "Traceback" not in done.stderr
