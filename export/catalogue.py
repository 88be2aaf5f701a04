"""The list of well-known models under permissive licences that `fetch` can bring and `adopt` can take.

`catalogue.json` is the list. Hashes are those that several independent projects state for the published file; where no
such statement was found, `sha256` is empty and `fetch` asks the user for one rather than trust what arrives.
`map` is COCO mAP .50:.95 as the authors publish it. Ultralytics' weights are AGPL and therefore not listed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

from .errors import LabError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published model; `size_bytes` 0 where unknown; `adopt` is what to give `lepton-export adopt`."""

    name: str
    about: str
    url: str
    sha256: str
    size_bytes: int
    licence: str
    map: float
    input: str
    adopt: str


def entries() -> tuple[Entry, ...]:
    """Read the list."""
    text = files(__package__).joinpath("catalogue.json").read_text(encoding="utf-8")
    return tuple(Entry(**record) for record in json.loads(text))


def find(name: str) -> Entry:
    """Return the entry called `name`; raises LabError with the names there are."""
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        raise LabError(f"no model {name!r} in the catalogue; there are {', '.join(known)}")
    return known[name]


def to_text() -> str:
    """Render the list as a table."""
    head = f"{'name':20} {'mAP':>5} {'input':>8} {'MB':>7}  {'licence':11} {'hash':8} about\n"
    lines = []
    for entry in entries():
        size = f"{entry.size_bytes / 1e6:.1f}" if entry.size_bytes else "?"
        known = "known" if entry.sha256 else "yours"
        lines.append(
            f"{entry.name:20} {entry.map:5.1f} {entry.input:>8} {size:>7}  {entry.licence:11} {known:8} {entry.about}\n"
        )
    return head + "".join(lines)
