"""The configuration file: everything wrong with it is said at once, in words that name the place and the remedy."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from daemon.config.config import json_schema, load, load_alerts, load_service, load_unlocked
from daemon.config.config_checks import check_camera_url, check_host_port
from daemon.config.settings import Camera, Rule, Settings
from daemon.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.toml"


def mistakes_of(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return the lines of the error that `text` causes."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return str(caught.value).splitlines()


TEN_MISTAKES = """
[service]
log_level = "loud"
[detector]
device = "gpu"
max_batch = 300
[alerts]
publish = "tcp:/127.0.0.1:5570"
[cameras.gate]
url = "ftp://user:hunter2@gate/stream"
detct_fps = 5
zones.drive = [[0.0, 0.0], [1.0, 1.0]]
[cameras.Yard]
url = "rtsp://yard/stream"
[[rules]]
name = "people"
labels = ["person"]
cameras = ["gat"]
[[rules]]
name = "people"
labels = ["person"]
zones = ["drve"]
"""


def test_ten_mistakes_are_all_reported_at_once(tmp_path: Path) -> None:
    """Each mistake has a line of its own that begins with its key's path and names what is allowed or near."""
    lines = mistakes_of(tmp_path, TEN_MISTAKES)

    assert sorted(lines) == sorted(
        [
            "service.log_level: should be 'debug', 'info', 'warning' or 'error', found 'loud'",
            "detector.device: allowed are auto, cpu, cuda:N or tensorrt:N, found 'gpu'",
            "detector.max_batch: should be less than or equal to 64, found 300",
            "alerts.publish: allowed is tcp://host:port or ipc:///path, found 'tcp:/127.0.0.1:5570'",
            "cameras.gate.detct_fps: unknown key; did you mean detect_fps?",
            "cameras.gate.url: scheme ftp:// is not supported; allowed are rtsp, rtsps, http, https or a path",
            "cameras.gate.zones.drive: a list should have at least 3 items, not 2",
            (
                "cameras.Yard: allowed are lower-case letters, digits, - and _, at most 32, not beginning with - or _, "
                "found 'Yard'"
            ),
            "rules[0].cameras: unknown camera 'gat'; did you mean gate?",
            "rules[1].name: 'people' is the name of rules[0] too; names are unique",
            "rules[1].zones: no camera of this rule has a zone 'drve'; did you mean drive?",
        ]
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[detector]\nmin_score = inf", "detector.min_score: should be a finite number, found inf"),
        ("[detector]\nmax_batch = true", "detector.max_batch: should be a valid integer, found True"),
        (
            "[cameras.a]\nurl = 'http://a'\ndetect_fps = '5'",
            "cameras.a.detect_fps: should be a valid number, found '5'",
        ),
        ("[cameras.a]\ndetect_fps = 5", "cameras.a.url: missing; this key is required"),
        ("[cameras]\na = 'rtsp://u:pw@h'", "cameras.a: should be a table, found 'rtsp://***@h'"),
        ("[cameras.a]\nurl = ''", "cameras.a.url: empty; give the camera's URL, or enabled = false"),
        (
            "[cameras.a]\nurl = 'rtsp://h:no/'",
            ("cameras.a.url: this URL cannot be taken apart; is its port a number, its password percent-encoded?"),
        ),
        (
            "[cameras.a]\nurl = 'no/such/file.mp4'",
            ("cameras.a.url: no such file or folder, and no URL; URLs begin with rtsp:// or http://"),
        ),
        (
            "[cameras.a]\nurl = 'http://a'\nrecording.mode = 'always'",
            ("cameras.a.recording.mode: should be 'continuous', 'events' or 'off', found 'always'"),
        ),
        (
            "[metrics]\nlisten = '9470'",
            ("metrics.listen: allowed is host:port with a port up to 65535, found '9470'; empty switches it off"),
        ),
        (
            "[alerts]\nreplay = 'tcp://127.0.0.1:5570'",
            ("alerts.replay: tcp://127.0.0.1:5570 is alerts.publish already; give it an address of its own"),
        ),
        ("[detector]\nlisten = 'ipc:///x'", "detector.listen: allowed is tcp://host:port, found 'ipc:///x'"),
        ("camera = 1", "camera: unknown key; did you mean cameras?"),
        ("[[rules]]\nname = 'a'\nlabels = []", "rules[0].labels: a list should have at least 1 item, not 0"),
    ],
)
def test_a_mistake_is_said_in_words(tmp_path: Path, text: str, line: str) -> None:
    """Type, range, address and name mistakes each have one clear line, and no second one."""
    assert mistakes_of(tmp_path, text) == [line]


def test_a_rule_that_could_never_fire_on_a_camera_is_a_mistake(tmp_path: Path) -> None:
    """A camera that a rule names must have one of the rule's zones, else it would look guarded and not be."""
    cameras = "".join(f"[cameras.{name}]\nurl = 'http://h'\n" for name in "ab")
    text = cameras + "zones.z = [[0,0],[1,0],[1,1]]\n[[rules]]\nname='r'\nlabels=['x']\nzones=['z']\ncameras=['a','b']"

    assert mistakes_of(tmp_path, text) == [
        "rules[0].zones: camera 'a' has none of them, so the rule could never fire there"
    ]


def test_values_that_may_be_secret_are_never_repeated(tmp_path: Path) -> None:
    """Neither a password of the wrong type, nor one under a misspelt key, nor one in a URL comes back in an error."""
    text = """
[cameras.a]
url = "gopher://admin:hunter2@h/"
username = 5150
password = 31337
pasword = "hunter2"
"""
    lines = mistakes_of(tmp_path, text)

    assert len(lines) == 4
    assert not re.search("hunter2|31337|5150|admin", "\n".join(lines))
    assert "cameras.a.pasword: unknown key; did you mean password?" in lines


def test_broken_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    """A syntax error names file, line and column."""
    (line,) = mistakes_of(tmp_path, "[service]\nstate_dir = /var")

    assert re.fullmatch(r".*/config\.toml: no TOML: Invalid value \(at line 2, column 13\)", line)


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), (b"\xff", "no text in UTF-8")])
def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A missing file and a binary one are named with their path."""
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=f"{path}: .*{words}"):
        load(path, {})


def test_a_runtime_dir_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    """The kernel takes 107 bytes of a socket's path."""
    (line,) = mistakes_of(tmp_path, f"[service]\nruntime_dir = '/run/{'x' * 100}'")

    assert line.startswith("service.runtime_dir: ")
    assert line.endswith("has over 107 bytes; choose a shorter folder")


def test_secrets_of_a_camera_that_is_switched_off_are_not_wanted(tmp_path: Path) -> None:
    """A disabled camera may name a secret, a file and a zone that are not there yet."""
    path = tmp_path / "c.toml"
    path.write_text("[cameras.a]\nenabled = false\nurl = 'x.mp4'\npassword = '${env:LATER}'")

    assert load(path, {}).cameras["a"].password == "${env:LATER}"  # noqa: S105 - a placeholder


def test_commands_that_only_look_need_no_secret(tmp_path: Path) -> None:
    """`status` finds the daemon though the environment of its user has none of the daemon's secrets."""
    path = tmp_path / "c.toml"
    path.write_text("[service]\nruntime_dir = '/run/x'\n[cameras.a]\nurl = '${env:URL}'")

    assert load_service(path).runtime_dir == Path("/run/x")
    assert load_alerts(path).publish == "tcp://127.0.0.1:5570"


def test_commands_that_open_no_camera_read_all_but_the_secrets(tmp_path: Path) -> None:
    """`harvest` wants masks, `explain` the model; a systemd credential is nowhere but in the service."""
    path = tmp_path / "c.toml"
    path.write_text(
        "[cameras.a]\nurl = 'rtsp://u:${credential:a}@192.0.2.1/s'\npassword = '${env:NOT_SET}'\n"
        "privacy_masks = [[[0, 0], [1, 0], [1, 1]]]"
    )

    camera = load_unlocked(path).cameras["a"]

    assert (camera.url, camera.password, len(camera.privacy_masks)) == ("rtsp://unread", "", 1)
    with pytest.raises(ConfigError, match=r"cameras\.a\.password"):
        load(path, {})


# --- the shipped file is the manual ---


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON values of a table's defaults, as a TOML file would have them."""
    required = {name: "x" for name, field in model.model_fields.items() if field.is_required() and name != "labels"}
    if "labels" in model.model_fields:
        required["labels"] = ["x"]
    return model.model_validate(required).model_dump(mode="json")


def test_the_shipped_configuration_is_valid_and_shows_every_default() -> None:
    """config.toml holds every key of the common tables with exactly its default value."""
    written = tomllib.loads(SHIPPED.read_text())
    settings = load(SHIPPED, {})

    for section in ("service", "detector", "alerts", "recording", "health", "metrics"):
        assert written[section] == defaults(Settings.model_fields[section].annotation), section
    assert not any(camera.enabled for camera in settings.cameras.values())
    assert len(settings.rules) == 1


def test_the_shipped_configuration_shows_every_key_of_a_camera_and_of_a_rule() -> None:
    """The example camera and rule show the defaults of all keys; what differs is what an example must say."""
    written = tomllib.loads(SHIPPED.read_text())
    camera, rule = written["cameras"]["gate"], written["rules"][0]

    assert camera.keys() | {"recording"} == Camera.model_fields.keys()
    assert "#[cameras.gate.recording]" in SHIPPED.read_text()
    own = {"url", "enabled", "zones"}
    assert {k: v for k, v in camera.items() if k not in own} == {
        k: v for k, v in defaults(Camera).items() if k not in own | {"recording"}
    }
    assert {k: v for k, v in rule.items() if k not in {"name", "labels"}} == {
        k: v for k, v in defaults(Rule).items() if k not in {"name", "labels"}
    }


def test_the_schema_describes_every_table() -> None:
    """`leptond config schema` is JSON Schema with the keys' descriptions."""
    schema = json_schema()

    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Camera"]["properties"]["detect_fps"]["description"]


# --- addresses ---


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("rtsp://h/x", True),
        ("rtsps://u:p%40@h:322/x", True),
        ("HTTP://h", True),
        ("https://[::1]:80/", True),
        (__file__, True),
        (str(Path(__file__).parent), True),
        ("rtsp:///x", False),
        ("rtsp://h:99999/", False),
        ("udp://h", False),
        ("nothing.mp4", False),
        ("x" * 5000, False),
        (f"{__file__}/x", False),
    ],
)
def test_camera_urls_are_told_from_others(url: str, fine: bool) -> None:
    """Schemes, hosts, ports and paths are checked before anybody connects."""
    assert (check_camera_url(url) is None) == fine


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("127.0.0.1:0", True),
        ("[::1]:9470", True),
        ("box:80", True),
        (":80", False),
        ("box", False),
        ("b:x", False),
        ("b:70000", False),
        ("b:٣", False),
        ("http://b:80", False),
        ("*:80", False),
    ],
)
def test_host_and_port_are_checked(text: str, fine: bool) -> None:
    """Only host:port with a decimal port passes."""
    assert (check_host_port(text) is None) == fine
