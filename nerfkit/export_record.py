"""Where a run's exported files lie, at every moment of an export: the section ``export`` of metrics.json.

    {"scale": 0.25, "meters_per_unit": 0.25, "others": {"scale": 250.0, "turn": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}}

``scale`` is how long the scene's own unit is in GLB and USD, ``others`` what holds for the other formats and the
cameras where that differs. The section is written before the files that it is about. Until the last of these is there,
``earlier`` says by name where those lie that have still the bits of before; whatever has others is new. Where cameras
were written without a mesh, elsewhere than the section says, it has ``cameras_apart``: true.
"""

import json
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

from nerfkit.runs.fingerprint import of_files
from nerfkit.runs.folder import Run
from nerfkit.scenes.placement import SAME, Placement, Rows
from nerfkit.scenes.scene import Scene

SECTION, EARLIER = "export", "earlier"
APART = "cameras_apart"
PLACED = ("glb", "usd", "usdz")
"""Formats of meshes that say themselves what is up, and are in meters for whoever reads them."""
SUFFIXES = {"usd": "usdc"}
"""Format -> how its files' names end, where that is another word."""


def told(scale: float, others: float, turn: Rows, scene: Scene) -> dict[str, Any]:
    """The section of files whose unit is the scene's own times ``scale``, of others times ``others`` and turned."""
    about: dict[str, Any] = {"scale": scale, "meters_per_unit": scene.meters}
    return about if (others, turn) == (scale, SAME) else about | {"others": {"scale": others, "turn": turn}}


def begin(about: dict[str, Any], files: Iterable[Path], record: Run) -> None:
    """Says where an export's files will lie, and where those of ``files`` do until they are replaced or removed."""
    earlier = {}
    for path in files:
        before = _of_file(path, record)
        if _plain(before) != _plain(about):
            earlier[path.name] = before | {"bits": of_files([path])}
    apart = {APART: True} if APART in record.metrics().get(SECTION, {}) else {}
    record.update_metrics({SECTION: about | ({EARLIER: earlier} if earlier else {}) | apart})


def end(about: dict[str, Any], record: Run) -> None:
    """Says that all files lie where ``begin`` was told that they will."""
    record.update_metrics({SECTION: about})


def move_cameras(record: Run) -> None:
    """Says, before cameras are written elsewhere than the section tells, that it does not tell where they lie."""
    record.update_metrics({SECTION: record.metrics().get(SECTION, {}) | {APART: True}})


def in_doubt(names: Set[str], record: Run) -> Set[str]:
    """Those of some formats and ``cameras`` of which the section does not say where they lie.

    That is all after an export that was stopped and has moved only a part of the files; cameras after ``move_cameras``,
    until an export of a mesh has written them again.
    """
    section = record.metrics().get(SECTION, {})
    return names if EARLIER in section else names & {"cameras"} if APART in section else set()


def exported_place(format: str, record: Run, scene: Scene) -> Placement:
    """Where the run's exported mesh of that format lies; of ``cameras``, where they do after a finished export."""
    section = _of_file(record.folder / "mesh" / f"mesh.{SUFFIXES.get(format, format)}", record)
    others = None if format in PLACED else section.get("others")
    if others is None:
        return Placement(scene.normalization.enlarged(section.get("scale", 1.0)))
    first, second, third = (tuple(row) for row in others["turn"])
    return Placement(scene.normalization.enlarged(others["scale"]), (first, second, third))


def _of_file(path: Path, record: Run) -> dict[str, Any]:
    """What the section says of one file."""
    section: dict[str, Any] = record.metrics().get(SECTION, {})
    earlier = section.get(EARLIER, {})
    before = earlier.get(path.name)
    if before is not None and path.is_file() and of_files([path]) == before["bits"]:
        return {key: value for key, value in before.items() if key != "bits"}
    return {key: value for key, value in section.items() if key not in (EARLIER, APART)}


def _plain(section: dict[str, Any]) -> Any:
    """A section as JSON holds it, without what is None; none at all means the scene's own units."""
    known = {key: value for key, value in section.items() if value is not None}
    return json.loads(json.dumps({"scale": 1.0} | known))
