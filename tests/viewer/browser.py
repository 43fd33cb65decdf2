"""A headless Chromium, driven over its DevTools protocol with the websockets that viser brings."""

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
NO_CHROMIUM = f"no browser here: none of {', '.join(NAMES)} is on the path"
PATIENCE = 60.0  # seconds until what is waited for must have happened
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class NotYetError(Exception):
    """The browser cannot answer, such as on its way from one page to the next."""


class Page:
    """One tab of a browser.

    Args:
        socket: to its DevTools, from ``websockets``.
    """

    def __init__(self, socket: Any) -> None:
        self._socket, self._count = socket, 0

    def ask(self, method: str, **parameters: Any) -> Any:
        """What DevTools answer."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise NotYetError(f"{method}: {answer['error']}")
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """What stands on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def picture(self) -> NDArray[np.uint8]:
        """What is to be seen, (H,W,3)."""
        data = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def mouse(self, kind: str, x: float, y: float, pressed: bool = True) -> None:
        """``mousePressed``, ``mouseMoved`` or ``mouseReleased`` at a place in pixels."""
        button = "left" if pressed else "none"
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(pressed), clickCount=1)

    def click(self, x: float, y: float) -> None:
        """One click of the left button."""
        self.mouse("mouseMoved", x, y, pressed=False)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float], moves: int = 8) -> None:
        """The left button pressed at a place, moved and let go at another one."""
        self.mouse("mouseMoved", *start, pressed=False)
        time.sleep(0.3)  # what is there notices the pointer in its next picture
        self.mouse("mousePressed", *start)
        for move in range(1, moves + 1):
            self.mouse("mouseMoved", *(a + (b - a) * move / moves for a, b in zip(start, end, strict=True)))
            time.sleep(0.03)
        self.mouse("mouseReleased", *end)

    def wheel(self, x: float, y: float, turn: float) -> None:
        """Turns the wheel, toward the user where ``turn`` is positive."""
        self.ask("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=turn)

    def press(self, label: str) -> None:
        """Clicks the smallest element with that text."""
        self._click(
            f"[...document.querySelectorAll('*')].filter(e => e.innerText?.trim() == {json.dumps(label)}).at(-1)"
        )

    def tick(self) -> None:
        """Clicks the last checkbox."""
        self._click("[...document.querySelectorAll('input[type=checkbox]')].at(-1)")

    def _click(self, element: str) -> None:
        """Clicks an element that is at rest: what opens above it moves it."""
        before = None
        while (now := self.until(lambda: self._middle(element))) != before:
            before = now
            time.sleep(0.3)
        self.click(*now)

    def choose(self, now: str, wanted: str) -> None:
        """Opens the list that shows ``now``, and takes ``wanted`` of it."""
        shown = f"[...document.querySelectorAll('input')].find(e => e.type == 'text' && e.value == {json.dumps(now)})"
        self.click(*self.until(lambda: self._middle(shown)))
        listed = f"[...document.querySelectorAll('[role=option]')].find(e => e.innerText == {json.dumps(wanted)})"
        self.click(*self.until(lambda: self._middle(listed)))

    def _middle(self, element: str) -> Any:
        """The middle of an element, None where it is not there."""
        box = f"const e = {element}; const r = e && e.getBoundingClientRect(); if (!r || !r.width) return null"
        return self.evaluate(f"(() => {{{box}; return [r.x + r.width / 2, r.y + r.height / 2]}})()")

    def until(self, found: Callable[[], Any]) -> Any:
        """The first value of ``found()`` that is true; AssertionError if none is within ``PATIENCE``."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(NotYetError):
                if value := found():
                    return value
            time.sleep(0.1)
        raise AssertionError("what was waited for did not happen")


@contextmanager
def browser(url: str, folder: Path, size: tuple[int, int]) -> Iterator[Page]:
    """A browser with one page, whose window has ``size`` (width, height); ``folder`` takes its profile."""
    from websockets.sync.client import connect

    words = [str(CHROMIUM), *SWITCHES, f"--user-data-dir={folder}", f"--window-size={size[0]},{size[1]}", "about:blank"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        try:
            port = _port(folder / "DevToolsActivePort")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
                tab = next(tab for tab in json.load(answer) if tab["type"] == "page")
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
                page = Page(socket)
                page.ask(
                    "Emulation.setDeviceMetricsOverride",
                    width=size[0],
                    height=size[1],
                    deviceScaleFactor=1,
                    mobile=False,
                )
                page.ask("Page.navigate", url=url)
                yield page
        finally:
            program.terminate()


def _port(path: Path) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if path.exists() and (lines := path.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError("the browser has not started")
