"""TensorBoard: one event file for each start of a run, in the run folder itself, opened at the first value."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nerfkit.runs.files import to_bytes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Board:
    """Scalars, images and texts of one run. A resumed run writes a second event file beside the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # a second of imports that not every command needs

            self._writer = SummaryWriter(str(self.folder), flush_secs=5)
        return self._writer

    def resume_at(self, step: int) -> None:
        """Makes TensorBoard drop what earlier event files hold from ``step`` on: those steps are done a second time."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # What SummaryWriter(purge_step=...) writes, here at a time of our choosing.
        events = self.writer.file_writer
        assert events is not None
        events.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """One point of a curve."""
        self.writer.add_scalar(tag, float(value), step)

    def scalar_by_second(self, tag: str, value: float, seconds: float) -> None:
        """One point of a curve over training time: the horizontal axis of ``TAG_by_second`` is whole seconds."""
        self.writer.add_scalar(f"{tag}_by_second", float(value), round(seconds))

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

    def flush(self) -> None:
        """Writes what is still in memory."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes what is still in memory, for the last time."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
