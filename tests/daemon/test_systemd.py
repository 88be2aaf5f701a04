"""The unit: systemd itself checks it, and says how much it exposes."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.config.settings import Settings
from daemon.errors import ConfigError, DeviceError, ModelError
from daemon.supervision.process_table import process_table

UNIT = Path(__file__).parents[2] / "systemd" / "leptond.service"
INSTALL = UNIT.parent / "install.sh"
MAX_EXPOSURE = 2.0  # of 10; what is left is the GPU, the network and /proc
wants_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing; on Debian: apt-get install systemd"
)


def unit() -> dict[str, str]:
    """Return the keys of [Service]; of keys that come more than once, the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(UNIT)
    return dict(parser["Service"])


@wants_analyze
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has no word to say, once the command of the unit is there."""
    command = tmp_path / "leptond"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copy = tmp_path / "leptond.service"
    copy.write_text(UNIT.read_text().replace("/opt/leptond/bin/leptond", str(command)))

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )

    assert "leptond" not in verified.stdout + verified.stderr  # of other units of the machine it may complain
    assert verified.returncode == 0


@wants_analyze
def test_the_units_exposure_stays_low() -> None:
    """`systemd-analyze security` puts it well into its best class."""
    analyzed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    match = re.search(r"Overall exposure level for leptond.service: ([\d.]+)", analyzed.stdout)
    assert match is not None
    assert float(match[1]) <= MAX_EXPOSURE


def test_the_unit_agrees_with_the_code() -> None:
    """Exit codes that must not restart are those of the fatal errors; the stop timeout lets every stage drain."""
    service = unit()

    fatal = {error.exit_code for error in (ConfigError, ModelError, DeviceError)}
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == fatal
    table = process_table(Settings.model_validate({"cameras": {"gate": {"url": "x"}}}))
    assert int(service["TimeoutStopSec"]) > sum(spec.drain_s for spec in table)
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"


def install(destination: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the install command under another root."""
    environ = {**os.environ, "DESTDIR": str(destination)}
    return subprocess.run(
        ["sh", str(INSTALL), *arguments], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_installing_twice_leaves_the_operators_configuration_alone(tmp_path: Path) -> None:
    """The unit is replaced, the configuration is not; uninstalling leaves it too."""
    config = tmp_path / "etc" / "leptond" / "config.toml"
    assert install(tmp_path, "--files-only").returncode == 0
    assert (tmp_path / "etc/systemd/system/leptond.service").read_text() == UNIT.read_text()
    assert config.stat().st_mode & 0o777 == 0o640
    config.write_text("# mine\n")

    assert install(tmp_path, "--files-only").returncode == 0
    assert config.read_text() == "# mine\n"

    assert install(tmp_path, "--uninstall").returncode == 0
    assert config.read_text() == "# mine\n"
    assert not (tmp_path / "etc/systemd/system/leptond.service").exists()


def test_the_install_command_explains_itself_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """--help shows the head of the script; an unknown argument changes nothing."""
    assert "--extra cuda" in install(tmp_path, "--help").stdout

    refused = install(tmp_path, "--frobnicate")

    assert refused.returncode == 1
    assert "unknown argument --frobnicate" in refused.stderr
    assert list(tmp_path.iterdir()) == []
