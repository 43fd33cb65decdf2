"""Features of photos and what they have in common, in COLMAP's database, by pycolmap.

Both steps go on where they were stopped: the database has what was done. They come in portions, since how far a call is
cannot be seen from outside: a second reader of the database, in another SQLite of the same process, would drop the
locks of the first.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nerfkit.errors import ConfigError
from nerfkit.prepare.intake import Shot, order
from nerfkit.prepare.options import PrepareOptions
from nerfkit.prepare.steps import watched

EXHAUSTIVE = 200  # photos of which all pairs are compared: 19900 pairs, some ten minutes on two cores
OVERLAP = 10  # neighbors before and after that a photo is compared with in a sequence
DEFAULT_FOCAL = 1.2  # times the longer side, where EXIF says nothing: COLMAP's own guess
SMALL = 1000  # pixels of a longer side up to which photos are always doubled: it costs little there
PROBES = 4  # photos that say whether the others need to be doubled
PAIRS = 64  # a portion: what a stopped program loses

Item = TypeVar("Item")
Portion = TypeVar("Portion")


def pycolmap() -> Any:
    """The module, quiet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pycolmap as module
    except ImportError:
        raise ConfigError(
            "pycolmap finds the poses of photos, and it is not installed: pip install 'nerfkit[photos]'"
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
        for group, number in ids.items():
            first = groups[group][0]
            known = next((shot.focal for shot in groups[group] if shot.focal), None)
            focal = known or DEFAULT_FOCAL * max(first.width, first.height)
            camera = colmap.Camera.create_from_model_name(number, lens, focal, first.width, first.height)
            camera.has_prior_focal_length = known is not None
            if not opened.exists_camera(number):
                opened.write_camera(camera, use_camera_id=True)
            if opened.read_rig_with_sensor(camera.sensor_id) is None:  # images need one, of one camera or of several
                rig = colmap.Rig()
                rig.add_ref_sensor(camera.sensor_id)
                opened.write_rig(rig)
    return ids


def extract(
    database: Path,
    images: Path,
    shots: Sequence[Shot],
    ids: dict[str, int],
    options: PrepareOptions,
    masks: Path | None = None,
) -> None:
    """SIFT features of every photo that has none yet; none where ``NAME.png`` in the folder ``masks`` is black."""
    colmap = pycolmap()
    extraction = colmap.FeatureExtractionOptions()
    extraction.max_image_size = options.size
    extraction.sift.max_num_features = options.features
    extraction.use_gpu = False
    with colmap.Database.open(database) as opened:
        images_known = opened.read_all_images()
        here = {image.name for image in images_known if opened.exists_keypoints(image.image_id)}
    portions = [
        (number, list(names))
        for group, number in ids.items()
        for names in _portions([s.name for s in shots if s.group == group and s.name not in here], _photos_at_once())
    ]
    if portions:
        extraction.sift.first_octave = _first_octave(database, images, shots, extraction)

    def one(portion: tuple[int, list[str]], token: Any) -> None:
        reader = colmap.ImageReaderOptions()
        reader.existing_camera_id, reader.camera_model = portion[0], options.lens
        if masks is not None:
            reader.mask_path = masks
        colmap.extract_features(
            database,
            images,
            image_names=portion[1],
            camera_mode=colmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
            cancellation_token=token,
        )

    _in_portions(one, portions, [len(names) for _, names in portions], len(shots), "features")


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
    pairing = colmap.ImportedPairingOptions()
    pairing.match_list_path = listed
    matching = colmap.FeatureMatchingOptions()
    matching.use_gpu = False
    verification = colmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = options.seed

    def one(portion: Sequence[tuple[str, str]], token: Any) -> None:
        listed.write_text("".join(f"{first} {second}\n" for first, second in portion), encoding="utf-8")
        colmap.match_image_pairs(database, matching, pairing, verification, cancellation_token=token)

    portions = list(_portions(left, PAIRS))
    _in_portions(one, portions, [len(portion) for portion in portions], len(pairs), "matches")


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


def _first_octave(database: Path, images: Path, shots: Sequence[Shot], extraction: Any) -> int:
    """-1 where SIFT should look at photos doubled in size, as COLMAP does by default, 0 where it need not.

    Doubled photos take three times as long and give more and smaller features, of which those beyond the limit are
    thrown away. Where some photos, as they are, have half of the features that are allowed, that is enough.
    """
    colmap = pycolmap()
    if min(extraction.max_image_size, max(max(shot.width, shot.height) for shot in shots)) <= SMALL:
        return -1
    chosen = sorted({round(k * (len(shots) - 1) / (PROBES - 1)) for k in range(PROBES)})
    trial = database.with_name("probe.db")
    trial.unlink(missing_ok=True)
    extraction.sift.first_octave = 0

    def one(names: list[str], token: Any) -> None:
        colmap.extract_features(trial, images, names, extraction_options=extraction, cancellation_token=token)

    portions = [[shots[k].name for k in some] for some in _portions(chosen, os.cpu_count() or 1)]
    _in_portions(one, portions, [len(names) for names in portions], len(chosen), "texture")
    with colmap.Database.open(trial) as opened:
        counts = sorted(opened.num_keypoints_for_image(image.image_id) for image in opened.read_all_images())
    enough = counts and counts[len(counts) // 2] >= extraction.sift.max_num_features / 2
    return 0 if enough else -1


def _photos_at_once() -> int:
    """Photos in a portion: some for each thread, so that few threads wait at its end."""
    return 4 * (os.cpu_count() or 1)


def _portions(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _in_portions(
    work: Callable[[Portion, Any], None], portions: Sequence[Portion], sizes: Sequence[int], total: int, title: str
) -> None:
    """``work`` on each portion, of so many of ``total`` items; the items in none of them were done before."""
    token = pycolmap().CancellationToken()
    done = [total - sum(sizes)]

    def run() -> None:
        for portion, size in zip(portions, sizes, strict=True):
            if token.is_cancelled:
                break
            work(portion, token)
            done[0] += size

    watched(run, title, lambda: done[0] / max(total, 1), token.cancel)
