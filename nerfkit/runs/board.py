"""TensorBoard: one event file for each start of a run, in the run folder itself, opened at the first value."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nerfkit.runs.files import to_bytes, write_bytes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS = "events.out.tfevents."
BY_SECOND = "_by_second"
FINAL = "Final/"  # a capital: TensorBoard sorts by it, and its HPARAMS begin with the first tags


class Board:
    """Scalars, images and texts of one run. A resumed run writes a second event file beside the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._own: list[Path] = []

    @property
    def writer(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # a second of imports that not every command needs

            earlier = self._files()
            self._writer = SummaryWriter(str(self.folder), flush_secs=5)
            new = [path for path in self._files() if path not in earlier]
            _put_before(earlier, new)
            self._own += new
        return self._writer

    def forget(self, prefixes: Sequence[str], step: int = 0, seconds: float = 0.0) -> None:
        """Removes what lies beyond ``step`` from the curves and pictures of earlier event files: it is done again.

        A session of TensorBoard's own (``purge_step``) would do so with every curve of the run, and each fit counts its
        own steps.

        Args:
            prefixes: of the tags.
            step: steps done; 0: none, and all of it goes.
            seconds: of training, for curves over seconds.
        """
        ends = {True: round(seconds), False: step} if step else {True: -1, False: -1}
        for path in self._files():
            points = [] if path in self._own else list(_points(path))
            kept = [
                record
                for record, tag, at in points
                if not tag.startswith(tuple(prefixes)) or at <= ends[tag.endswith(BY_SECOND)]
            ]
            if len(kept) < len(points):
                write_bytes(path, b"".join(kept))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """One point of a curve."""
        self.writer.add_scalar(tag, float(value), step)

    def scalar_by_second(self, tag: str, value: float, seconds: float) -> None:
        """One point of a curve over training time: the horizontal axis of ``TAG_by_second`` is whole seconds."""
        self.writer.add_scalar(f"{tag}{BY_SECOND}", float(value), round(seconds))

    def image(self, tag: str, image: np.ndarray | torch.Tensor, step: int) -> None:
        """One picture, (H,W,3) or (H,W), uint8 or float in [0,1]."""
        pixels = image.numpy(force=True) if isinstance(image, torch.Tensor) else np.asarray(image)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)  # (H, W, 3)
        if pixels.dtype != np.uint8:
            pixels = to_bytes(pixels)
        self.writer.add_image(tag, pixels, step, dataformats="HWC")

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """One page of the text tab."""
        self.writer.add_text(tag, markdown, step)

    def outcome(self, asked: dict[str, bool | float | str], figures: Mapping[str, float]) -> None:
        """The run's line in the tab HPARAMS, and its figures as points ``Final/NAME``, in the place of earlier ones.

        There is no ``Experiment`` among it: TensorBoard would take the options of one run for those of all.
        """
        from torch.utils.tensorboard.summary import hparams

        self.forget((FINAL, "_hparams_/"))
        _, start, end = hparams(asked, {})
        for summary in (start, end):
            self.writer._get_file_writer().add_summary(summary, 0)
        for name, value in figures.items():
            self.scalar(FINAL + name, value, 0)

    def flush(self) -> None:
        """Writes what is still in memory."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes what is still in memory, for the last time."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _files(self) -> list[Path]:
        """The run's event files in the order in which they are read."""
        return sorted(path for path in self.folder.glob(f"{EVENTS}*") if path.is_file())


def _put_before(earlier: Sequence[Path], new: Sequence[Path]) -> None:
    """Renames the earlier event files where they would be read after the new one: the clock has been set back."""
    if not earlier or not new or earlier[-1] < new[0]:
        return
    first = int(new[0].name.removeprefix(EVENTS).partition(".")[0])
    for number, path in enumerate(earlier):
        rest = path.name.removeprefix(EVENTS).partition(".")[2]
        path.rename(path.with_name(f"{EVENTS}{max(first - len(earlier) + number, 0):010d}.{rest}"))


def _points(path: Path) -> Iterator[tuple[bytes, str, int]]:
    """The records of an event file with tag and step, up to one that is cut off or damaged.

    A record is its data between 12 bytes, the length in 8 and a checksum, and 4 of another checksum.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    data, begin = path.read_bytes(), 0
    with contextlib.suppress(DecodeError):
        while begin < len(data):
            end = begin + 12 + int.from_bytes(data[begin : begin + 8], "little") + 4
            if end > len(data):
                break
            event = Event.FromString(data[begin + 12 : end - 4])
            yield data[begin:end], "".join(value.tag for value in event.summary.value[:1]), event.step
            begin = end
