"""The processes of one run, as ``torchrun`` starts them: their shares of the work, and sums over all of them.

    torchrun --nproc-per-node=2 train.py scene=clock

Rank 0 makes the run folder, logs and saves; the others work along with it. A process that ``torchrun`` has not started
is alone, and nothing here does anything. GPUs add up by NCCL, CPUs by Gloo.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nerfkit.errors import UserError

PATIENCE = timedelta(days=1)  # the first may prepare photos for hours


class RankError(UserError):
    """Another process of the run is gone."""


class Ranks:
    """One of ``count`` processes, number ``rank``."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, total: int) -> range:
        """This process' share of ``total`` things, about a ``count``-th of them, in order of the ranks."""
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            _together(dist.barrier)

    def leave(self) -> None:
        """Lets the others go on, or end, without this process."""
        if self.count > 1:
            dist.destroy_process_group()

    def copied(self, state: Any) -> Any:
        """What rank 0 gives, in every process."""
        if self.count > 1:
            box = [state]
            _together(dist.broadcast_object_list, box)
            return box[0]
        return state

    def add_up(self, parameters: Sequence[Tensor], values: Tensor) -> Tensor:
        """Adds the gradients of all processes, in place, and returns the sum of their ``values`` (K,) float32.

        Every process gets the same bits. A gradient that no process has stays None.
        """
        if self.count == 1:
            return values
        has = torch.tensor([p.grad is not None for p in parameters], device=values.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        sizes = [p.numel() for p in parameters]
        flat = torch.cat([*(g.flatten() for g in gradients), has.to(values), values])
        _together(dist.all_reduce, flat)
        *found, had, summed = flat.split([*sizes, len(sizes), len(values)])
        for p, gradient, anywhere in zip(parameters, found, had.tolist(), strict=True):
            if anywhere:
                p.grad = gradient.view_as(p)
        return summed


ALONE = Ranks()


def join(device: torch.device) -> Ranks:
    """Joins the processes that ``torchrun`` has started with this one, if it has; each takes a GPU of its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size())


def _together(call: Any, *arguments: Any) -> None:
    """Calls what all processes must call.

    Raises:
        RankError: another one is gone.
    """
    try:
        call(*arguments)
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise RankError(
            f"another process of this run is gone ({reason[:120]}); its own message says why. Go on with resume=auto"
        ) from None
