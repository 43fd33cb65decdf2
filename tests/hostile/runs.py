"""Configs, run folders, checkpoints and videos of strangers."""

import contextlib
import io
import os
import pickle
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfkit import cli, resume
from nerfkit.errors import UserError
from nerfkit.fit.perceptual import lpips
from nerfkit.fit.specular import Specular
from nerfkit.prepare.video import take_frames
from nerfkit.results import new_fit
from nerfkit.runs.checkpoints import load_latest, save
from nerfkit.runs.folder import Run, find
from nerfkit.runs.unfinished import newest_unfinished
from nerfkit.runs_command import main as list_runs
from nerfkit.scenes import record
from nerfkit.view.video import write_video
from tests.hostile.cases import SCENES, Case, fresh, read_scene
from tests.hostile.mutations import VALUES, places, spoiled, spoiled_json

OLD = Path(__file__).parent.parent / "data" / "run_0_1_0"
GLOBAL = "# @package _global_\n"
CALL = "{_target_: subprocess.check_call, args: [touch, ran]}"  # what is written is looked at
LOGS = "version: 1\nhandlers: {x: {(): subprocess.check_call, args: [touch, ran]}}\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join(['*' + chr(ord(c) - 1)] * 10)}]\n" for c in "bcdefghij"
)
DEEP = "x: " + "[" * 3000 + "]" * 3000
SHALLOW = "x: " + "[" * 60 + "]" * 60
HYDRA, CALLS = "keys of Hydra's own", "calls a resolver"
X = "experiment/x.yaml"
CONFIGS: tuple[tuple[dict[str, str], str | None], ...] = (
    ({X: f"{GLOBAL}seed: 3\noutput: ${{expanded:x}}\n"}, None),
    ({X: f"{GLOBAL}hydra:\n  callbacks:\n    evil: {CALL}\n"}, HYDRA),
    ({X: f"# @package hydra.callbacks\nevil: {CALL}\n"}, HYDRA),
    ({X: f"{GLOBAL}hydra: {{job: {{env_set: {{LD_PRELOAD: /tmp/x.so}}}}}}\n"}, HYDRA),
    ({X: f"{GLOBAL}hydra: {{run: {{dir: /tmp/elsewhere}}}}\n"}, HYDRA),
    ({X: f"{GLOBAL}defaults:\n  - override /hydra/job_logging: evil\n"}, HYDRA),
    ({X: f"{GLOBAL}defaults:\n  - /other@hydra.callbacks\n", "other.yaml": f"evil: {CALL}\n"}, HYDRA),
    ({X: f"{GLOBAL}seed: 3\n", "hydra/job_logging/none.yaml": LOGS}, None),  # Hydra takes its own
    ({X: f"{GLOBAL}seed: 3\n", "hydra/config.yaml": f"callbacks: {{evil: {CALL}}}\n"}, HYDRA),
    ({X: f"{GLOBAL}scene: {{root: '${{oc.env:HOME}}'}}\n"}, CALLS),
    ({X: f"{GLOBAL}scene: {{root: '${{ oc.env : HOME}}'}}\n"}, CALLS),
    ({X: f"{GLOBAL}scene: {{root: '${{${{seed}}:HOME}}'}}\n"}, CALLS),
    ({X: f"{GLOBAL}output: '${{expanded:${{oc.env:HOME}}}}'\n"}, CALLS),
    ({X: f"{GLOBAL}output: '\\${{expanded:${{oc.env:HOME}}}}'\n"}, CALLS),
    ({X: f"{GLOBAL}output: >-\n  ${{oc.\n  env:HOME}}\n"}, CALLS),
    ({X: f"{GLOBAL}seed: ${{oc.decode:3}}\n"}, CALLS),
    ({X: f"{GLOBAL}field: {CALL}\n"}, ""),
    ({X: f"{GLOBAL}seed: !!python/object/apply:subprocess.check_call [[touch, ran]]\n"}, ""),
    ({X: GLOBAL + BOMB}, "aliases followed"),
    ({X: GLOBAL + DEEP}, "too deep"),
    ({X: GLOBAL + SHALLOW}, "nested more than"),
    ({X: GLOBAL + "# x\n" * 200_000}, "more than 262,144"),
    ({X: "\0\1\2"}, ""),
    ({X: ""}, None),
    ({X: f"{GLOBAL}defaults:\n  - /../beside\n", "../beside.yaml": f"{GLOBAL}output: ${{oc.env:HOME}}\n"}, CALLS),
    ({X: f"{GLOBAL}defaults:\n  - /a/../hydra/x\n", "hydra/x.yaml": f"callbacks: {{evil: {CALL}}}\n"}, HYDRA),
    ({X: f"{GLOBAL}seed: 3\n", "lib/site-packages/other.yaml": f"hydra: {CALL}\nx: ${{oc.env:HOME}}\n"}, None),
)


def command(entry: Callable[[], None], *words: str) -> None:
    """Runs a command; what it refuses, with exit code 2 and one message, is raised."""
    sys.argv = ["command", *words]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            entry()
    except SystemExit as stop:
        lines = err.getvalue().splitlines()
        if stop.code != 2 or "Traceback" in err.getvalue() or not lines[-1].startswith("error: "):
            raise AssertionError(err.getvalue()) from None
        raise UserError(lines[-1].removeprefix("error: ")) from None


def configs() -> Iterator[Case]:
    """Folders for ``--config-dir``."""
    for number, (files, refused) in enumerate(CONFIGS):
        folder = fresh()
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        words = ["--config-dir", str(folder), "--cfg", "job", "device=cpu", *(["experiment=x"] if X in files else [])]
        yield Case(f"config {number}: {X}", partial(command, cli.train, *words), refused)
        if refused == HYDRA:
            words = ["--config-dir", str(folder), "--info", "config", "experiment=x"]
            yield Case(f"config {number}: --info", partial(command, cli.train, *words), refused)
    folder = fresh()
    os.mkfifo(folder / "x.yaml")
    (folder / "experiment").symlink_to(folder)
    yield Case("config: a pipe beside", partial(command, cli.train, "--config-dir", str(folder), "--cfg", "job"))


def run_folders() -> Iterator[Case]:
    """The files of a run, spoiled; and ``latest``, which names a folder."""
    folder = fresh() / "kaolin" / "2026-01-01_00-00-00"
    shutil.copytree(OLD, folder)
    SCENES["kaolin"][0](folder)
    record.record(read_scene(folder / "data"), folder)  # type: ignore[arg-type]
    whole = (folder / "config.yaml").read_text()
    for text, refused in (
        (whole.replace("resolution: 32", "root: ${oc.env:HOME}"), "to be filled in"),
        (whole.replace("resolution: 32", "root: ${output}"), "to be filled in"),
        (whole + BOMB, "aliases followed"),
        (DEEP, "too deep"),
        ("[1, 2]", "keys and values"),
        ("3", ""),
        ("x: !!python/object/apply:os.system [touch ran]", ""),
        ("scene: [", ""),
        ("# x\n" * 200_000, "more than"),
    ):
        (folder / "config.yaml").write_text(text)
        for entry, word in ((cli.train, "resume"), (cli.render, "run")):
            words = (entry, f"{word}={folder}")
            yield Case(f"config.yaml: {text[:20]!r}, {word}", partial(command, *words), refused)
        yield Case(f"config.yaml: {text[:20]!r}, auto", lambda: newest_unfinished(folder.parent.parent))
        yield Case(f"config.yaml: {text[:20]!r}, runs", lambda: list_runs([str(folder.parent.parent)]))
    (folder / "config.yaml").write_text(whole)
    run = Run(folder)
    os.mkfifo(folder / "log.txt")
    yield Case("log.txt: a pipe", run.hold, "a pipe or a device")
    (folder / "log.txt").unlink()
    config = resume.load(folder)
    readers: dict[str, Callable[[], object]] = {
        "config.yaml": lambda: resume.load(folder),
        "overrides.yaml": lambda: run.differences(config),
        "metrics.json": run.metrics,
        "scene.json": lambda: record.recorded(folder),
        "mesh/specular.npz": lambda: Specular.load(folder / "mesh" / "specular.npz"),
        "environment.yaml": lambda: find(folder),
    }
    for seed, (name, read) in enumerate(readers.items()):
        path, data = folder / name, (folder / name).read_bytes()
        copies = [*spoiled(data, seed, 40 if name == "config.yaml" else 12)]
        if path.suffix == ".json":
            copies += spoiled_json(data, seed, 40)
        for label, copy in copies:
            path.write_bytes(copy)
            yield Case(f"{name}: {label}", read)
        path.write_bytes(data)
    latest = folder.parent / "latest"
    for name in ("../../secret", "/etc", "..", ".", "a\\b", "C:", "x" * 300, "\x1b[2J", ""):
        latest.write_text(name)
        yield Case(f"latest: {name[:20]!a}", lambda: find(latest), "")


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def checkpoints() -> Iterator[Case]:
    """Checkpoints that hold code, are damaged or packed, or whose state is of other types."""
    folder = fresh()
    SCENES["kaolin"][0](folder)
    shutil.copytree(OLD, folder / "run")
    config, scene = resume.load(folder / "run"), read_scene(folder / "data")
    fit = new_fit(config, scene, Run(folder / "run"), torch.device("cpu"))  # type: ignore[arg-type]
    path = folder / "run" / "checkpoints" / "step_00000030.pt"
    whole = path.read_bytes()

    def load() -> None:
        state = load_latest(folder / "run", warn=lambda line: None)[1]
        fit.load_state_dict(state, str(folder / "run"))

    for label, data in spoiled(whole, 0, 30):
        path.write_bytes(data)
        yield Case(f"checkpoint: {label}", load)
    evil = io.BytesIO()
    torch.save({"model": _Evil()}, evil)
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    ring, itself = io.BytesIO(), dict[str, object]()
    itself["model"] = itself
    torch.save(itself, ring)
    evils = {"code": evil, "a pickle": io.BytesIO(pickle.dumps(_Evil())), "packed": packed, "a ring": ring}
    for label, data in ((label, file.getvalue()) for label, file in evils.items()):
        path.write_bytes(data)
        yield Case(f"checkpoint: {label}", load, "none of its 1 checkpoints can be read")
    for label, make in {"a pipe": os.mkfifo, "a device": lambda place: place.symlink_to("/dev/zero")}.items():
        path.unlink()
        make(path)
        yield Case(f"checkpoint: {label}", load, "none of its 1 checkpoints can be read")
    path.unlink()
    path.write_bytes(whole)
    path.rename(path.with_name("step_\u00b2.pt"))
    yield Case("checkpoint: a name", load, "no checkpoint")
    path.with_name("step_\u00b2.pt").unlink()
    chance = random.Random(0)
    for number in range(60):
        save(folder / "run", 30, fit.state_dict())
        state = torch.load(path, weights_only=True)
        parent, key = chance.choice([(p, k) for p, k in places(state) if not isinstance(p, torch.Tensor)])
        made = torch.zeros(3), torch.zeros(1).expand(1 << 40), torch.full((2,), float("nan"))
        value = made[number] if number < len(made) else chance.choice(VALUES)
        if isinstance(value, str) and "\ud800" in value:
            continue
        parent[key] = value
        torch.save(state, path)
        yield Case(f"checkpoint {number}: {key} = {type(value).__name__}", load)


def weights() -> Iterator[Case]:
    """LPIPS' weights, of both of PyTorch's formats, that hold code, are damaged, or made up."""
    path = fresh() / "vgg.pth"
    read = partial(lpips, [path])
    kernel = torch.zeros(64, 3, 3, 3)
    for zipped in (True, False):
        files = {"code": _Evil(), "1 kB for terabytes": {"features.0.weight": torch.zeros(1).expand(1 << 40)}}
        for label, content in files.items():
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            yield Case(f"weights, {'zip' if zipped else 'old'}: {label}", read, "")
        torch.save({"features.0.weight": kernel}, path, _use_new_zipfile_serialization=zipped)
        for label, data in spoiled(path.read_bytes(), 0, 12):
            path.write_bytes(data)
            yield Case(f"weights, {'zip' if zipped else 'old'}: {label}", read, "")


def videos() -> Iterator[Case]:
    """Videos, spoiled, and texts that ffmpeg would take for lists of other files."""
    folder = fresh()
    chance = np.random.default_rng(0)
    frames = [np.repeat(np.repeat(chance.integers(0, 255, (6, 8, 3)), 8, 0), 8, 1).astype(np.uint8) for _ in range(5)]
    whole = write_video(frames, folder / "v.mp4", fps=5).read_bytes()

    def read() -> None:
        with tempfile.TemporaryDirectory() as out:
            take_frames(folder / "v.mp4", Path(out), 4)

    for label, data in spoiled(whole, 0, 8):
        (folder / "v.mp4").write_bytes(data)
        yield Case(f"video: {label}", read)
    for text in (
        "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "ffconcat version 1.0\nfile s.mp4\n",
        "<MPD></MPD>",
        "v=0\n",
    ):
        (folder / "v.mp4").write_text(text)
        yield Case(f"video: {text[:8]}", read, "no container of videos")
