"""What else may befall a run, besides being stopped: a full disk, a read-only one, a clock set back, a second process.

Each fault must end with one message and exit code 2, or with nothing at all, and the run goes on from its last good
checkpoint to what it would have been.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nerfkit.runs import checkpoints
from tests.torture import KILL, TERM, Report, Stop, differences, outcome, run_in, run_train, undisturbed

DISK = 24 << 20  # bytes
DAY = 86400
BACK = f"""
import time, datetime
now = time.time
time.time = lambda: now() - {DAY}
class Back(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(seconds={DAY})
datetime.datetime = Back
"""
"""Python that sets the clock of a process back."""


class SkippedError(Exception):
    """The fault cannot be made here."""


class Setting:
    """Where a fault is tried: an empty folder, the words of a small run, and what comes of that."""

    def __init__(self, folder: Path, words: list[str], expected: dict[str, Any]) -> None:
        self.folder, self.words, self.expected = folder, words, expected
        folder.mkdir(parents=True)

    def begun(self, output: Path, there: Callable[[Path], bool]) -> Path:
        """A run in ``output`` that was killed as soon as it had a checkpoint and ``there`` was true of its folder."""
        stop = Stop(KILL, 0.0, lambda: (run := saved_in(output)) is not None and there(run))
        _, stopped, printed = run_train([*self.words, f"output={output}"], stop)
        run = saved_in(output)
        assert run is not None and stopped, f"it was done before: {printed[-500:]}"
        return run

    def goes_on(self, run: Path, before: str = "") -> None:
        """The run goes on to what it would have been."""
        code, _, printed = run_train([f"resume={run}"], before=before)
        assert code == 0, printed[-500:]
        found = outcome(run)
        assert found == self.expected, differences(self.expected, found)


def saved_in(output: Path) -> Path | None:
    """The run in a folder of runs, if it has a checkpoint."""
    run = run_in(output)
    return run if run is not None and checkpoints.steps(run) else None


def frames_of(run: Path) -> dict[Path, int]:
    """The frames that a run has rendered, and when."""
    return {path: path.stat().st_mtime_ns for path in run.glob("video/frames/*/*/[!.]*.png")}


def refused(code: int, printed: str, reason: str) -> str:
    """The one message that a command ended with."""
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert code == 2 and "Traceback" not in printed, printed[-1500:]
    assert len(errors) == 1 and reason in errors[0], printed[-1500:]
    return errors[0].removeprefix("error: ")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of ``DISK`` bytes.

    Raises:
        SkippedError: this process may mount none.
    """
    disk = folder / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        raise SkippedError("this process may not mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def full_disk(setting: Setting) -> str:
    """The disk is full when a checkpoint is to be saved: the one before stays, and is gone on from."""
    with small_disk(setting.folder) as disk:
        filler = disk / "filler"

        def fill() -> bool:
            if saved_in(disk / "runs") is None:
                return False
            with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 12))
            return False

        forever = [*setting.words, f"output={disk / 'runs'}", "trainer.max_steps=1000000"]
        code, _, printed = run_train(forever, Stop(KILL, 0.0, fill))
        said = refused(code, printed, "the disk is full")
        run = run_in(disk / "runs")
        assert run is not None
        newest = checkpoints.steps(run)[0]
        assert checkpoints.load_latest(run)[0] == newest, "the newest is whole"
        filler.unlink()
        code, _, printed = run_train([f"resume={run}", f"trainer.max_steps={newest + 20}", "stages=[field]"])
        assert code == 0, printed[-500:]
        assert checkpoints.steps(run)[0] == newest + 20
    return said.replace(str(setting.folder), "")


def read_only(setting: Setting) -> str:
    """A run folder that can be read alone is refused, and goes on where it can be written again."""
    with small_disk(setting.folder) as disk:
        run = setting.begun(disk / "runs", lambda run: True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, _, printed = run_train([f"resume={run}"])
        said = refused(code, printed, "cannot be written")
        code, _, printed = run_train([*setting.words, f"output={disk / 'runs'}"])
        refused(code, printed, "cannot be written")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        setting.goes_on(run)
    return said.replace(str(setting.folder), "")


def clock_set_back(setting: Setting) -> str:
    """The clock is a day behind when a run goes on, and its files are of tomorrow."""
    run = setting.begun(setting.folder, lambda run: bool(checkpoints.steps(run, "refine")))
    for path in run.rglob("*"):
        os.utime(path, (time.time() + DAY,) * 2)
    setting.goes_on(run, before=BACK)
    return "equal"


def second_process(setting: Setting) -> str:
    """Another process goes on with a run that is being trained: it is refused; ``resume=auto`` finds none."""
    output, said = setting.folder, []

    def meddle() -> bool:
        run = saved_in(output)
        if run is None:
            return False
        code, _, printed = run_train([f"resume={run}"])
        said.append(refused(code, printed, "another process is training this run"))
        code, _, printed = run_train(["resume=auto", f"output={output}"])
        refused(code, printed, "no unfinished run with a checkpoint")
        return True

    forever = [*setting.words, f"output={output}", "trainer.max_steps=1000000"]
    code, _, _ = run_train(forever, Stop(TERM, 0.0, meddle))
    assert code == 143 and said
    return said[0].replace(str(output), "")


def cut_video(setting: Setting) -> str:
    """A run that is killed while it renders its video goes on with the frames that are there."""
    run = setting.begun(setting.folder, lambda run: len(frames_of(run)) > 2)
    frames = frames_of(run)
    setting.goes_on(run)
    again = [path.name for path, written in frames_of(run).items() if frames.get(path, written) != written]
    assert not again, again
    return f"equal, {len(frames)} frames kept"


FAULTS: dict[str, Callable[[Setting], str]] = {
    "full disk": full_disk,
    "read-only folder": read_only,
    "clock set back": clock_set_back,
    "second process": second_process,
    "cut video": cut_video,
}


def try_all(folder: Path, names: list[str], report: Report) -> None:
    """Tries the faults and says in ``report`` what came of each."""
    if not names:
        return
    folder.mkdir()
    words, expected, _ = undisturbed(folder)
    for name in names:
        try:
            report.faults[name] = FAULTS[name](Setting(folder / name.replace(" ", "_"), words, expected))
        except SkippedError as reason:
            report.faults[name] = f"skipped: {reason}"
        except AssertionError as error:
            report.faults[name] = "wrong"
            report.wrong.append(f"{name}: {error}")
