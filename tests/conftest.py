"""Fixtures that several test packages share: the folder of real material, and nothing else."""

import os
from pathlib import Path

import pytest

MATERIAL = Path(os.environ.get("LEPTON_MATERIAL", Path(__file__).resolve().parents[2] / "shared" / "material"))


@pytest.fixture(scope="session")
def material() -> Path:
    """Folder of real videos and published models; the test says so when it skips for want of it."""
    if not MATERIAL.is_dir():
        pytest.skip(f"no material at {MATERIAL}; set LEPTON_MATERIAL to run this test")
    return MATERIAL
