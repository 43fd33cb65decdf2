"""DTU's protocol for surfaces: the mesh as points against the scan of a structured light scanner, in millimeters.

With Q the mesh's points, 0.2 mm apart (``even_points``), in the scan's box, which is widened by 60 mm below and 120 mm
above, Q' those of them in space that the scanner observed, and S' the scan's points S above the table,

    accuracy = mean of d(q, S) over Q',    completeness = mean of d(s, Q) over S',    overall = their mean,

d being the distance from the nearest point; distances of 20 mm and more are left out of the means. Source: Jensen et
al., "Large scale multi-view stereopsis evaluation", 2014, with the numbers of the authors' scripts and, for how a mesh
becomes points, of their Python port, DTUeval-python, by which papers on surfaces report. The F-score is not theirs: the
harmonic mean of the shares of Q' and of S' with d < 1 mm, none left out.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from nerfkit.errors import ConfigError, SceneError, problem
from nerfkit.mesh.even_points import lattice_points, lattice_size, thinned
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.matlab import matrices
from nerfkit.runs.untrusted import read_file
from nerfkit.scenes.point_cloud import ply_points
from nerfkit.scenes.scene import Scene

SPACING, FARTHEST, NEAR = 0.2, 20.0, 1.0  # mm: between points; counted in means; counted by the F-score
BELOW, ABOVE = 60.0, 120.0  # mm around the box
LONGEST = 1e5  # mm, of the box
MOST = 1 << 28  # points of the mesh that are looked at
MILLIMETERS = "DTU's millimeters and axes, as cameras_sphere.npz has them"
REMEDY = (
    "They are part of the DTU MVS data set of the Technical University of Denmark (Robot Image Data Sets, 2014): "
    "Points.zip has the scans, SampleSet.zip, in its folder MVS Data, ObsMask with the planes."
)


@dataclass(frozen=True)
class Scan:
    """What DTU publishes of a scan, in millimeters and the axes of its cameras.

    Attributes:
        points: (P,3) float64, S.
        observed: (A,B,C) bool; cell (i,j,k) has its middle at ``low`` + ``side`` (i,j,k).
        low, high: (3,) float64, the box of those cells.
        side: of a cell.
        plane: (4,) float64, the table: n p + d > 0 above it.
    """

    points: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    side: float
    plane: np.ndarray


def open_scan(place: str | Path, scene: Scene) -> Scan:
    """Reads ``Points/stl/stl024_total.ply``, ``ObsMask/ObsMask24_10.mat`` and ``ObsMask/Plane24.mat``.

    Args:
        place: the folder with ``Points`` and ``ObsMask``; the number is then that of ``scanN`` in the path of the
            scene. Or the file of points in such a folder, whose name has the number.
        scene: that was photographed.

    Raises:
        ConfigError: the number is not known.
        SceneError: a file is missing or damaged.
    """
    place = Path(place).expanduser()
    numbers = re.findall(r"scan_?(\d{1,3})(?!\d)", f"{scene.provenance.get('path', '')} {scene.name}")
    named = re.fullmatch(r"stl(\d{1,3})_total\.ply", place.name)
    if named is None and not numbers:
        raise ConfigError(
            f"--truth {place}: which scan is not known, for the scene's path names none, as scan24 does; expected the "
            "file of one, such as Points/stl/stl024_total.ply in that folder"
        )
    number = int(named[1] if named else numbers[-1])
    folder = place if named is None else place.parents[2] if len(place.parents) > 2 else Path()
    points = place if named else folder / "Points" / "stl" / f"stl{number:03d}_total.ply"
    mask, plane = folder / "ObsMask" / f"ObsMask{number}_10.mat", folder / "ObsMask" / f"Plane{number}.mat"
    missing = [path for path in (points, mask, plane) if not path.is_file()]
    if missing:
        names = ", ".join(str(path) for path in (points, mask, plane))
        raise problem(str(missing[0]), "no such file", names, REMEDY)
    try:
        found = ply_points(_read(points))
    except ValueError as error:
        raise problem(str(points), str(error), "a PLY file of points", REMEDY) from None
    if not len(found):
        raise problem(str(points), "no points", "some", REMEDY)
    observed, box, side = _matrices(mask, {"ObsMask": 3, "BB": 2, "Res": 2})
    (table,) = _matrices(plane, {"P": 2})
    sizes = np.ptp(box, axis=0) if box.shape == (2, 3) else np.zeros(1)
    if not ((sizes > 0) & (sizes < LONGEST)).all() or side.size != 1 or not side.item() > 0:
        raise problem(
            str(mask), "no box of cells", "BB, two corners of a box in mm, and Res, the side of a cell", REMEDY
        )
    if table.size != 4:
        raise problem(str(plane), f"P has {table.size} numbers", "the 4 of a plane", REMEDY)
    return Scan(found, observed != 0, box[0], box[1], side.item(), table.ravel())


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise problem(str(path), error.strerror or str(error), "a file that can be read", REMEDY) from None
    except ValueError as error:
        raise problem(str(path), str(error), "a file of the data set", REMEDY) from None


def _matrices(path: Path, axes: dict[str, int]) -> list[np.ndarray]:
    """The matrices of a MAT file, each of as many axes; all but the mask, of bytes, as float64."""
    try:
        found = matrices(_read(path), axes)
    except (ValueError, zlib.error, MemoryError) as error:
        reason = str(error) or "there is no memory for it"
        raise problem(str(path), f"cannot be read ({reason})", "a MAT file of level 5", REMEDY) from None
    for name, count in axes.items():
        if name not in found or found[name].ndim != count or not np.isfinite(found[name]).all():
            raise problem(str(path), f"no matrix {name} of {count} axes with finite numbers", "one", REMEDY)
    return [found[name] if name == "ObsMask" else found[name].astype(np.float64) for name in axes]


def scan_distance(mesh: Mesh, scan: Scan) -> dict[str, float]:
    """``dtu_accuracy``, ``dtu_completeness``, ``dtu_overall`` (mm) and ``dtu_f_score`` of a mesh in millimeters.

    Raises:
        SceneError: nothing of it that was observed is near the scan, or it takes too many points.
    """
    points = thinned(_points_in_box(mesh, scan), SPACING)
    cell = np.rint((points - scan.low) / scan.side)
    inside = ((cell >= 0) & (cell < scan.observed.shape)).all(1)
    i, j, k = cell[inside].astype(np.int64).T
    observed = points[inside][scan.observed[i, j, k]]
    above = scan.points[scan.points @ scan.plane[:3] + scan.plane[3] > 0]
    there, back = _nearest(observed, scan.points), _nearest(above, points)
    if not (np.isfinite(there).any() and np.isfinite(back).any()):
        raise SceneError(
            f"the mesh: {len(points):,} of its points are in the scan's box, {len(observed):,} of them where the "
            f"scanner observed, and none is near to the scan; expected a scene in {MILLIMETERS}"
        )
    accuracy, completeness = (float(distance[np.isfinite(distance)].mean()) for distance in (there, back))
    precision, recall = (float((distance < NEAR).mean()) for distance in (there, back))
    return {
        "dtu_accuracy": accuracy,
        "dtu_completeness": completeness,
        "dtu_overall": (accuracy + completeness) / 2,
        "dtu_f_score": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }


def _points_in_box(mesh: Mesh, scan: Scan) -> np.ndarray:
    """Vertices (P,3) of the mesh and points in its faces that lie in the scan's widened box."""
    low, high = scan.low - BELOW, scan.high + ABOVE
    vertices = mesh.positions.detach().cpu().numpy()
    corners = vertices[mesh.faces.cpu().numpy()]  # (F, 3, 3)
    corners = corners[((corners.max(1) >= low) & (corners.min(1) < high)).all(1)]
    if lattice_size(corners, SPACING) > MOST:
        raise SceneError(f"the mesh: too large for points every {SPACING} mm; expected a scene in {MILLIMETERS}")
    points = np.concatenate([vertices, lattice_points(corners, SPACING)])
    return points[((points >= low) & (points < high)).all(1)]


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance of each point from the nearest of others; infinite from ``FARTHEST`` on."""
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    found = cKDTree(others).query(points, distance_upper_bound=FARTHEST, workers=torch.get_num_threads())
    return np.asarray(found[0])
