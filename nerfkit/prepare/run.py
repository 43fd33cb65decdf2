"""Photos or a video in; poses, points and a report out: the steps in order."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nerfkit.errors import UserError, problem
from nerfkit.prepare import doctor, features, mapping
from nerfkit.prepare.coverage import coverage
from nerfkit.prepare.folder import Work, check_empty, fingerprint_of, finished
from nerfkit.prepare.intake import Shot, take_photos
from nerfkit.prepare.masks import masks_of, take_masks
from nerfkit.prepare.options import Prepared, PrepareOptions
from nerfkit.prepare.report import Report, center_sentence, write_report
from nerfkit.prepare.source import check_formats, check_place, is_video, photos_of
from nerfkit.prepare.video import take_frames
from nerfkit.runs.progress import to_stderr

Log = Callable[[str], None]


def prepare(
    source: str | Path, out: str | Path, options: PrepareOptions | None = None, log: Log = to_stderr
) -> Prepared:
    """Finds the cameras of photos that have none: a COLMAP model in ``out``, and a report on the capture.

    A start that was stopped is gone on with; a finished ``out`` is left as it is. Not for two at a time in one ``out``.

    Args:
        source: a folder with photos at its top or in ``images/``, and with ``masks/NAME.png`` where pixels are to be
            ignored; or a video.
        out: a new or empty folder. ``images/`` has the photos, upright, ``masks/`` the masks, ``sparse/0`` the model,
            ``report.md``, ``report.json`` and ``coverage.png`` what there is to say.
        options: None takes their defaults.
        log: takes what is said on the way, a line at a time.

    Raises:
        SceneError: no photos, fewer than three that can be read, photos that share nothing, a video without motion,
            or an ``out`` that holds something else.
        ConfigError: pycolmap is not installed.
    """
    o = options or PrepareOptions()
    origin, target = Path(os.path.expanduser(source)), Path(os.path.expanduser(out))
    files, notes = _files(origin)
    check_place(target, origin)
    masks = masks_of(origin, files)
    fingerprint = fingerprint_of(origin, [*files, *masks.values()], o)
    work = Work(target)
    work.finish_moving()
    done = finished(target)
    if done is not None:
        return _again(target, done, fingerprint, log)
    check_empty(target)
    check_formats(files)
    features.pycolmap()
    try:
        return _run(origin, files, masks, work, fingerprint, notes, o, log)
    except UserError:  # another start would end in the same way
        work.discard()
        raise


def _files(origin: Path) -> tuple[list[Path], list[str]]:
    """The files to take photos from, and notes."""
    if not origin.exists():
        raise problem(str(origin), "no such file or folder", "a folder of photos or a video", "Check the path.")
    if origin.is_dir():
        return photos_of(origin)
    if not is_video(origin):
        raise problem(str(origin), "neither a folder nor a video", "a folder of photos or a video", "Check the path.")
    if origin.stat().st_size == 0:
        raise problem(str(origin), "the file is empty", "a video", "Copy it again.")
    return [origin], []


def _again(target: Path, done: dict[str, Any], fingerprint: str, log: Log) -> Prepared:
    """The answer for a finished ``target``."""
    note = f"{target} is finished and left as it is: {done['placed']} of {done['total']} photos placed"
    if done["fingerprint"] != fingerprint:
        raise problem(
            str(target),
            f"OUT holds what was prepared from {done['source']}, from other photos or with other options",
            "a new or empty folder",
            "Choose another place, or delete it.",
        )
    log(note)
    return Prepared(target, int(done["placed"]), int(done["total"]), [note, *done["notes"], *done["advice"]])


def _run(
    origin: Path,
    files: list[Path],
    masks: dict[str, Path],
    work: Work,
    fingerprint: str,
    notes: list[str],
    o: PrepareOptions,
    log: Log,
) -> Prepared:
    """All steps, each of which goes on where an earlier start stopped."""
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        seconds[name] = time.monotonic() - start

    if work.begin(fingerprint):
        log(f"{work.out}: going on with what an earlier start left")
    with step("photos"):
        shots, found = work.photos() or _taken(origin, files, masks, work, o)
    notes = notes + found
    for note in notes:
        log(note)
    with step("features"):
        ids = features.write_cameras(work.database, shots, o.lens)
        features.extract(work.database, work.images, shots, ids, o, work.masks if work.masks.is_dir() else None)
    with step("matches"):
        many = is_video(origin) or len(shots) > features.EXHAUSTIVE
        features.match(work.database, shots, many if o.matching == "auto" else o.matching == "sequential", o)
    partners = features.partners(work.database)
    with step("poses"):
        models = mapping.map_photos(work.database, work.images, work.root, len(shots), o)
    if not models:
        facts = doctor.facts_of(shots, [], partners, {})
        why = doctor.nothing_placed(facts)
        raise problem(str(origin), f"none of the {len(shots)} photos can be placed", "photos that overlap", f"{why}.")
    with step("principal point"):
        model, center = mapping.free_centers(models[0], seconds["poses"])
    if center is not None:
        notes.append(center_sentence(center))
        log(notes[-1])
    work.sparse.mkdir(parents=True, exist_ok=True)
    model.write(work.sparse)
    seen = coverage(mapping.poses(model))
    facts = doctor.facts_of(
        shots, [mapping.names_of(each) for each in models], partners, mapping.reprojection_errors(model)
    )
    error = float(model.compute_mean_reprojection_error())
    advice = doctor.advice(facts, seen)
    report = Report(
        *(str(origin), fingerprint, asdict(o), facts, _cameras(model), error, center, seen, notes, advice, seconds)
    )
    write_report(work.result, report)
    work.settle()
    for sentence in advice:
        log(sentence)
    return Prepared(work.out, report.placed, len(facts), notes + advice)


def _taken(
    origin: Path, files: list[Path], masks: dict[str, Path], work: Work, o: PrepareOptions
) -> tuple[list[Shot], list[str]]:
    """The photos and their masks, now in the work's folder, and notes."""
    video = is_video(origin)
    shots, notes = take_frames(origin, work.images, o.frames) if video else take_photos(origin, files, work.images)
    notes += take_masks(origin, masks, files, shots, work.masks)
    work.keep_photos(shots, notes)
    return shots, notes


def _cameras(model: Any) -> list[dict[str, Any]]:
    """What the report says of each camera that placed photos have."""
    used: dict[int, int] = {}
    for number in model.reg_image_ids():
        camera = model.images[number].camera_id
        used[camera] = used.get(camera, 0) + 1
    return [
        {
            "id": number,
            "photos": count,
            "model": model.cameras[number].model_name,
            "names": model.cameras[number].params_info,
            "params": [float(value) for value in model.cameras[number].params],
            "width": model.cameras[number].width,
            "height": model.cameras[number].height,
        }
        for number, count in sorted(used.items())
    ]
