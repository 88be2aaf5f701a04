"""The process table: who runs, who sees what, and what a reload touches."""

from typing import Any

from daemon.config.settings import Settings
from daemon.supervision.process_table import changes, process_table

TABLES: dict[str, Any] = {
    "cameras": {
        "gate": {
            "url": "rtsp://u:topsecret@gate",
            "detect_url": "rtsp://sub",
            "username": "u",
            "password": "topsecret",
        },
        "yard": {"url": "rtsp://yard", "zones": {"drive": [[0, 0], [1, 0], [1, 1]]}},
        "old": {"url": "rtsp://old", "enabled": False},
    },
    "rules": [{"name": "people", "labels": ["person"]}],
}


def settings(**sections: Any) -> Settings:
    """Return TABLES with sections replaced."""
    return Settings.model_validate({**TABLES, **sections})


def with_camera(name: str, **keys: Any) -> Settings:
    """Return TABLES with keys of one camera replaced."""
    return settings(cameras={**TABLES["cameras"], name: {**TABLES["cameras"].get(name, {}), **keys}})


def test_processes_start_downstream_first_and_a_disabled_camera_has_none() -> None:
    """Recorder, events, worker, then a reader for each enabled camera."""
    names = [spec.name for spec in process_table(settings())]

    assert names == ["recorder", "events", "worker", "camera gate", "camera yard"]


def test_an_address_or_password_is_seen_by_its_own_reader_alone() -> None:
    """No other process's settings hold a camera's URL, user or password."""
    seen = {spec.name for spec in process_table(settings()) if "topsecret" in spec.settings.model_dump_json()}

    assert seen == {"camera gate"}
    for spec in process_table(settings()):
        assert spec.name == "camera yard" or "rtsp://yard" not in spec.settings.model_dump_json()


def touched(new: Settings) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return names that a reload from TABLES to `new` stops, restarts, tells and starts."""
    change = changes(process_table(settings()), process_table(new))
    names = [[spec.name for spec in specs] for specs in (change.restart, change.signal, change.start)]
    return list(change.stop), names[0], names[1], names[2]


def test_only_what_changed_is_touched_by_a_reload() -> None:
    """A table of changes and whom they touch: stopped, restarted, told, started."""
    everyone = ["recorder", "events", "worker", "camera gate", "camera yard"]
    rest = {name: camera for name, camera in TABLES["cameras"].items() if name != "yard"}
    polygon = [[0, 0], [1, 0], [0, 1]]
    cases = [
        (settings(), [], [], [], []),
        (settings(rules=[]), [], [], ["recorder", "events"], []),
        (settings(health={"camera_down_s": 9}), [], [], ["events"], []),
        (settings(alerts={"publish": "tcp://127.0.0.1:1"}), [], [], ["events"], []),
        (settings(detector={"max_batch": 4}), [], ["worker"], [], []),
        (settings(metrics={"listen": ""}), [], [], [], []),
        (settings(recording={"segment_s": 30}), [], [], ["recorder", "events"], []),
        (settings(service={"log_level": "debug"}), [], everyone, [], []),
        (with_camera("gate", password="other-secret"), [], ["camera gate"], [], []),  # noqa: S106
        (with_camera("gate", detect_fps=9), [], ["camera gate"], ["recorder", "events"], []),
        (with_camera("yard", zones={"lawn": polygon}), [], [], ["recorder", "events"], []),
        (with_camera("yard", recording={"segment_s": 9}), [], [], ["recorder", "events"], []),
        (with_camera("yard", recording={"mode": "off"}), [], ["camera yard"], ["recorder", "events"], []),
        (with_camera("old", enabled=True), [], [], ["recorder", "events"], ["camera old"]),
        (settings(cameras=rest), ["camera yard"], [], ["recorder", "events"], []),
    ]

    for new, *expected in cases:
        assert list(touched(new)) == expected
