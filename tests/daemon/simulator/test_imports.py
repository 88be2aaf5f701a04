"""The simulator stands beside the daemon: it shares errors and logging with it, and nothing else."""

import ast
from pathlib import Path

from daemon import simulator


def test_the_simulator_imports_only_errors_and_log_of_the_daemon() -> None:
    """So that it can play the camera for any version of the reader."""
    files = Path(simulator.__file__).parent.glob("*.py")
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]

    foreign = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level > 1}
    absolute = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}

    assert foreign == {"errors", "log"}
    assert not {name for name in absolute if name and name.split(".")[0] in ("daemon", "export")}
