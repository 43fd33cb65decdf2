"""The processes of one run, as ``torchrun`` starts them: their shares of the work, and sums over all of them.

    torchrun --nproc-per-node=2 train.py scene=clock

Rank 0 makes the run folder, logs and saves; the others work along with it in training, and help it with pictures and
their gradients after that. A process that ``torchrun`` has not started is alone, and nothing here does anything. GPUs
add up by NCCL; CPUs, and all that is not a sum, by Gloo, whose processes sleep while they wait.
"""

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from nerfkit.errors import UserError, out_of_memory
from nerfkit.runs.elastic import rendezvous
from nerfkit.runs.interrupts import interrupts_held_back
from nerfkit.runs.parcels import packed, unpacked

PATIENCE = timedelta(days=3)  # the first may prepare photos for hours
AHEAD = 4  # things of each process that rank 0 may have to keep at once

Item = TypeVar("Item")
Made = TypeVar("Made")


class RankError(UserError):
    """Another process of the run is gone."""


class Ranks:
    """One of ``count`` processes, number ``rank``, at work on ``device``."""

    def __init__(self, rank: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.count, self.device = rank, count, device
        self._kept: dict[str, Any] = {}  # the same in every process

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

    def spread(
        self, make: Callable[..., Made], items: Sequence[Item], *shared: Any, ahead: int = AHEAD
    ) -> Iterator[Made]:
        """``make(item, *shared)`` of every item, in their order; the others, which ``help``, do their part of it.

        Args:
            make: a function of a module; of the same arguments it makes the same bits in every process, on the CPU.
            items: one after the other is another process'.
            shared: models and meshes, too; the others get copies on their own devices.
            ahead: things of each process that rank 0 has to keep at once.
        """
        self.ask(Ranks._help_with, make, items, shared, ahead)
        yield from self._parts(make, items, shared, ahead)

    def ask(self, job: Callable[..., None], *shared: Any) -> None:
        """The others, which ``help``, call ``job(ranks, *shared)``; rank 0 does its own part of it after this.

        Args:
            job: a function of a module.
            shared: as that of ``spread``.
        """
        if self.count > 1:
            self._passed((job, shared))

    def help(self) -> None:
        """Does what rank 0 asks for, until it leaves; Ctrl-C and SIGTERM are left to rank 0, which may save before."""
        with interrupts_held_back() as stop:
            try:
                while (work := self._passed(None)) is not None:
                    job, shared = work
                    job(self, *shared)
            except RankError:
                stop()  # rank 0 was told to, too
                raise

    def leave(self) -> None:
        """Ends the others' ``help``."""
        if self.count > 1:
            self._passed(None)

    def all_have(self, name: str, thing: Any) -> None:
        """Every process calls this with the same thing of its own: what is shared from now on only names it."""
        if self.count > 1:
            self._kept[name] = thing

    def keep(self, **things: Any) -> None:
        """The others keep copies: what is shared from now on only names them, as long as they are the same objects."""
        for name, thing in things.items() if self.count > 1 else ():
            if all(thing is not kept for kept in self._kept.values()):
                self.ask(Ranks.all_have, name, thing)
                self.all_have(name, thing)

    def forget(self, *names: str) -> None:
        """Frees what was kept under these names, where there is such a thing."""
        if any(name in self._kept for name in names):
            self.ask(Ranks._drop, names)
            self._drop(names)

    def _drop(self, names: Sequence[str]) -> None:
        for name in names:
            self._kept.pop(name, None)

    def _passed(self, work: Any) -> Any:
        """What rank 0 wants to be done, in every process; None is the end."""
        if self.first:
            text, tensors, heads = packed(work, self._kept)
            self.copied((text, heads))
        else:
            text, heads = self.copied(None)
            tensors = [head.empty(self.device) for head in heads]
        for tensor in tensors:
            if tensor.numel():
                _together(dist.broadcast, tensor.view(-1).view(torch.uint8), 0)
        return work if self.first else unpacked(text, tensors, self._kept)

    def _parts(
        self, make: Callable[..., Made], items: Sequence[Item], shared: Sequence[Any], ahead: int
    ) -> Iterator[Made]:
        """What all processes have made of the items, in their order, at rank 0; elsewhere nothing."""
        if self.count == 1:
            yield from (make(item, *shared) for item in items)
            return
        size = ahead * self.count
        for few in (items[first : first + size] for first in range(0, len(items), size)):
            mine = [make(item, *shared) for item in few[self.rank :: self.count]]
            parts: list[Any] | None = [None] * self.count if self.first else None
            _together(dist.gather_object, mine, parts)
            if parts is not None:
                yield from (parts[k % self.count][k // self.count] for k in range(len(few)))

    def _help_with(self, *asked: Any) -> None:
        for _ in self._parts(*asked):
            pass

    def copied(self, state: Any) -> Any:
        """What rank 0 gives, in every process."""
        if self.count > 1:
            box = [state]
            _together(dist.broadcast_object_list, box)
            return box[0]
        return state

    def rows(self, call: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """``call(rows)``, a number (R,) for each row: every process makes a part and gets all, the same bits."""
        if self.count == 1:
            return call(rows)
        mine, found = self.part(len(rows)), rows.new_zeros(len(rows))
        if mine:
            found[mine.start : mine.stop] = call(rows[mine.start : mine.stop])
        _together(dist.all_reduce, found)  # of zeros and one number each
        return found

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
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, **rendezvous())
        atexit.register(dist.destroy_process_group)  # Gloo's threads would else abort a program that ends before them
    return Ranks(dist.get_rank(), dist.get_world_size(), device)


def _together(call: Any, *arguments: Any) -> None:
    """Calls what all processes must call.

    Raises:
        RankError: another one is gone.
    """
    try:
        call(*arguments)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        reason = next(iter(str(error).splitlines()), "")
        raise RankError(
            f"another process of this run is gone ({reason[:120]}); its own message says why. Go on with resume=auto"
        ) from None
