"""Pictures for several clients, one after the other: each one's latest request wins, and first pictures come first."""

import threading
from collections.abc import Callable, Hashable

Interrupted = Callable[[], bool]
Work = Callable[[Hashable, int | None, Interrupted], int | None]


class Worker:
    """Calls ``work(who, level, interrupted)`` until it returns None, one client at a time, in turn.

    Args:
        work: makes a picture for ``who`` at the level that its last call returned, None at first: the camera has moved.
            Returns the level to go on with, or None when the picture is finished. It may look at ``interrupted()``
            and return early: somebody waits for a first picture.
        prepare: called in the thread before anything else.

    A thread does so between ``start`` and ``close``; or ``take`` does, in the thread that calls it.
    """

    def __init__(self, work: Work, prepare: Callable[[], object] = lambda: None) -> None:
        self._work, self._prepare = work, prepare
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, int | None] = {}  # in the order of their turns
        self._known: set[Hashable] = set()
        self._open = True
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def watched(self) -> bool:
        """Whether there is anybody to make pictures for."""
        return bool(self._known)

    def ask(self, who: Hashable) -> None:
        """A picture for ``who`` from its first level on, in place of what it waits for."""
        with self._changed:
            self._known.add(who)
            self._waiting[who] = None
            self._changed.notify_all()

    def renew(self) -> None:
        """The whole picture again for all who have theirs: what it shows has changed."""
        with self._changed:
            for who in self._known:
                self._waiting.setdefault(who, 0)
            self._changed.notify_all()

    def waits(self, finer: bool) -> bool:
        """Whether somebody waits for a first picture, or with ``finer`` for any."""
        with self._changed:
            return bool(self._waiting) and (finer or None in self._waiting.values())

    def take(self) -> None:
        """Makes one picture, if somebody waits for one."""
        with self._changed:
            turn = self._pick() if self._waiting else None
        if turn is not None:
            self._make(*turn)

    def forget(self, who: Hashable) -> None:
        """No more pictures for ``who``."""
        with self._changed:
            self._known.discard(who)
            self._waiting.pop(who, None)

    def close(self) -> None:
        """Ends the thread after the picture that it is making."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def watch(self, now_and_then: Callable[[], object] = lambda: None) -> None:
        """Waits until the thread ends, and calls something each second; raises what ended it, if it was an error."""
        while self._thread.is_alive():
            self._thread.join(1.0)
            now_and_then()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._prepare()
            while (turn := self._next()) is not None:
                self._make(*turn)
        except BaseException as error:
            self._error = error

    def _next(self) -> tuple[Hashable, int | None] | None:
        """Whose turn it is, first pictures first; None when the worker is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if not self._open:
                return None
            return self._pick()

    def _pick(self) -> tuple[Hashable, int | None]:
        who = next((who for who, level in self._waiting.items() if level is None), next(iter(self._waiting)))
        return who, self._waiting.pop(who)

    def _make(self, who: Hashable, level: int | None) -> None:
        following = self._work(who, level, self._fresh if level is not None else lambda: False)
        with self._changed:
            if following is not None and who in self._known and who not in self._waiting:
                self._waiting[who] = following

    def _fresh(self) -> bool:
        """Whether somebody waits for a first picture, or nobody for any more."""
        with self._changed:
            return not self._open or None in self._waiting.values()
