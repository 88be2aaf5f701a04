"""Imports go one way: a module of `daemon` imports only from lower layers, and never from `export`."""

import ast
from pathlib import Path

import daemon

ROOT = Path(daemon.__file__).parent
LAYERS: dict[str, int] = {
    name: layer
    for layer, names in enumerate(
        [
            "errors clock",
            "settings secrets config config_checks mistakes log messages",
            """
            histogram stats timeline packet_ring nal_units order_book batcher geometry nms interest
            assignment kalman tracker zones rules lifecycle alert_schema scene health_edges orders
            motion sampler camera_state mailbox tally backoff
            """,
            """
            wire ring heartbeat known_answer runner stream_errors capture decoder pictures letterbox
            frame_sender packet_sender streamheader model segments fragments segment_reader clips
            snapshot whole_file retention journal detection_log publisher ledger recording_index recording_check
            sdnotify
            """,
            "process",
            "stream_thread alert_desk reader worker events recorder camera_recorder media_worker media_desk",
            """
            process_table health control children restarts report telemetry nursery premises signals
            reporter supervisor metrics status check tail child
            """,
            "cli clip_command doctor demo harvest explain",
        ]
    )
    for name in names.split()
}


def modules() -> dict[str, Path]:
    """Return every module of `daemon` by name; the simulator is a program of its own and has its own test."""
    paths = [path for path in ROOT.rglob("*.py") if "simulator" not in path.parts and path.stem != "__init__"]
    assert len(paths) == len({path.stem for path in paths}), "two modules of one name cannot be told apart here"
    return {path.stem: path for path in paths}


def imported(path: Path) -> set[str]:
    """Return the names that the file imports: modules of `daemon`, and `export` if it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            last = node.module.split(".")[-1] if node.module else ""
            found |= {last} if last in LAYERS else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found |= {name.split(".")[0] for name in names if name.split(".")[0] == "export"}
    return found


def test_every_module_has_a_layer() -> None:
    """A new module must say where it stands, and one that is gone must not."""
    assert set(modules()) == set(LAYERS)


def test_modules_import_only_from_their_own_layer_or_below() -> None:
    """A module that imports from above, or from the laboratory, would tie the layers into a knot."""
    wrong = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in imported(path)
        if LAYERS.get(other, 99 if other == "export" else -1) > LAYERS[name]
    ]

    assert wrong == []
