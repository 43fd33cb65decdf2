"""Features of photos and what they have in common, in COLMAP's database, by pycolmap.

Both steps go on where they were stopped: the database has what was done.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from nerfkit.errors import ConfigError
from nerfkit.prepare.intake import Shot, order
from nerfkit.prepare.options import PrepareOptions
from nerfkit.prepare.steps import watched

EXHAUSTIVE = 200  # photos of which all pairs are compared: 19900 pairs, some ten minutes on two cores
OVERLAP = 10  # neighbors before and after that a photo is compared with in a sequence
DEFAULT_FOCAL = 1.2  # times the longer side, where EXIF says nothing: COLMAP's own guess
BLOCK = 64  # pairs between two writes to the database: what a stopped program loses


def pycolmap() -> Any:
    """The module, quiet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pycolmap as module
    except ImportError:
        raise ConfigError(
            "pycolmap finds the poses of photos, and it is not installed: pip install nerfkit[photos]"
        ) from None
    module.logging.minloglevel = int(module.logging.ERROR)
    return module


def write_cameras(database: Path, shots: Sequence[Shot], lens: str) -> dict[str, int]:
    """{group: camera id}; each camera is written with the focal length that EXIF states, marked as such, or a guess."""
    colmap = pycolmap()
    groups: dict[str, list[Shot]] = {}
    for shot in shots:
        groups.setdefault(shot.group, []).append(shot)
    ids = {group: number for number, group in enumerate(sorted(groups), start=1)}
    with colmap.Database.open(database) as opened:
        if opened.num_cameras() == 0:
            for group, number in ids.items():
                first = groups[group][0]
                known = next((shot.focal for shot in groups[group] if shot.focal), None)
                focal = known or DEFAULT_FOCAL * max(first.width, first.height)
                camera = colmap.Camera.create_from_model_name(number, lens, focal, first.width, first.height)
                camera.has_prior_focal_length = known is not None
                opened.write_camera(camera, use_camera_id=True)
                rig = colmap.Rig()
                rig.add_ref_sensor(camera.sensor_id)
                opened.write_rig(rig)
    return ids


def extract(database: Path, images: Path, shots: Sequence[Shot], ids: dict[str, int], options: PrepareOptions) -> None:
    """SIFT features of every photo that has none yet."""
    colmap = pycolmap()
    extraction = colmap.FeatureExtractionOptions()
    extraction.max_image_size = options.size
    extraction.sift.max_num_features = options.features
    extraction.use_gpu = False
    token = colmap.CancellationToken()

    def run() -> None:
        for group, number in ids.items():
            reader = colmap.ImageReaderOptions()
            reader.existing_camera_id = number
            reader.camera_model = options.lens
            names = [shot.name for shot in shots if shot.group == group]
            if not token.is_cancelled():
                colmap.extract_features(
                    database,
                    images,
                    image_names=names,
                    camera_mode=colmap.CameraMode.SINGLE,
                    reader_options=reader,
                    extraction_options=extraction,
                    cancellation_token=token,
                )

    watched(run, "features", _rows(database, "descriptors", len(shots)), token.cancel)


def match(database: Path, shots: Sequence[Shot], sequential: bool, options: PrepareOptions) -> None:
    """Compares the features of pairs of photos that were not compared yet, and keeps what one motion explains."""
    colmap = pycolmap()
    pairs = pairs_of([shot.name for shot in order(shots)], sequential)
    with colmap.Database.open(database) as opened:
        names = {image.image_id: image.name for image in opened.read_all_images()}
        compared = {
            frozenset(names[number] for number in colmap.pair_id_to_image_pair(pair))
            for pair in opened.read_two_view_geometry_num_inliers()[0]
        }
    known = set(names.values())
    left = [pair for pair in pairs if frozenset(pair) not in compared and known.issuperset(pair)]
    if not left:
        return
    listed = database.with_name("pairs.txt")
    listed.write_text("".join(f"{first} {second}\n" for first, second in left), encoding="utf-8")
    pairing = colmap.ImportedPairingOptions()
    pairing.match_list_path, pairing.block_size = listed, BLOCK
    matching = colmap.FeatureMatchingOptions()
    matching.use_gpu = False
    verification = colmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = options.seed
    token = colmap.CancellationToken()
    watched(
        lambda: colmap.match_image_pairs(database, matching, pairing, verification, cancellation_token=token),
        "matches",
        _rows(database, "two_view_geometries", len(pairs)),
        token.cancel,
    )


def pairs_of(names: Sequence[str], sequential: bool) -> list[tuple[str, str]]:
    """All pairs of ``names``, or those of a sequence.

    In a sequence a photo is compared with the ``OVERLAP`` that follow and with those 16, 32, 64, ... further on. The
    sequence is taken to be closed: a walk around something ends where it began, and elsewhere it costs few pairs.
    """
    count = len(names)
    steps = {step for step in (*range(1, OVERLAP + 1), *(2**k for k in range(4, 12))) if step < count}
    if not sequential:
        steps = set(range(1, count))
    found = {frozenset((i, (i + step) % count)) for i in range(count) for step in steps}
    return [(names[i], names[j]) for i, j in sorted(tuple(sorted(pair)) for pair in found)]


def partners(database: Path) -> dict[str, dict[str, int]]:
    """{name: {name of another photo: matches that one motion explains}}, the most first; every photo has an entry."""
    colmap = pycolmap()
    with colmap.Database.open(database) as opened:
        names = {image.image_id: image.name for image in opened.read_all_images()}
        pairs, counts = opened.read_two_view_geometry_num_inliers()
    found: dict[str, dict[str, int]] = {name: {} for name in names.values()}
    for pair, count in sorted(zip(pairs, counts, strict=True), key=lambda item: -item[1]):
        if count > 0:
            first, second = (names[number] for number in colmap.pair_id_to_image_pair(pair))
            found[first][second] = found[second][first] = int(count)
    return found


def _rows(database: Path, table: str, total: int) -> Callable[[], float]:
    """The share of ``total`` rows that a table has; readers of the database do not disturb its writer."""

    def share() -> float:
        try:
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0.1)) as connection:
                return float(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) / max(total, 1)
        except sqlite3.Error:  # locked for a moment
            return 0.0

    return share
