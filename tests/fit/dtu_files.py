"""The files that DTU publishes of a scan, of points and a grid that are made up."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from nerfkit.fit.dtu_scan import Scan

TABLE = np.array([0.0, 0, 1, 1])  # z = -1


def scan_of(points: np.ndarray, cells: slice | tuple[slice | int, ...] = slice(None), side: float = 2.5) -> Scan:
    """A scan whose grid begins at (-10, -20, -15); ``cells`` of it were observed."""
    observed = np.zeros((32, 36, 20), bool)
    observed[cells] = True
    low = np.array([-10.0, -20, -15])
    return Scan(points, observed, low, low + side * np.array(observed.shape), side, TABLE)


def write_scan(folder: Path, scan: Scan, number: int = 24, packed: bool = True) -> None:
    """``Points`` and ``ObsMask`` of a scan."""
    (folder / "Points" / "stl").mkdir(parents=True)
    (folder / "ObsMask").mkdir()
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(scan.points)}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    place = folder / "Points" / "stl" / f"stl{number:03d}_total.ply"
    place.write_bytes(head.encode() + scan.points.astype("<f4").tobytes())
    content = {"ObsMask": scan.observed, "BB": np.stack([scan.low, scan.high]), "Res": scan.side}
    savemat(folder / "ObsMask" / f"ObsMask{number}_10.mat", content, do_compression=packed)
    savemat(folder / "ObsMask" / f"Plane{number}.mat", {"P": scan.plane[:, None]}, do_compression=packed)
