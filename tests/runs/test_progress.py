"""Progress without a terminal: a line now and then, with the share done and the time left; on one, a bar."""

import io
from types import SimpleNamespace

import pytest

from nerfkit.runs import progress
from nerfkit.runs.progress import Progress, track


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def error_stream(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A stderr that is no terminal, unless a test says otherwise."""
    stream = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    return stream


def test_a_line_every_ten_seconds_with_share_and_time_left(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("work", lines.append) as shown:
        assert shown.bar is None
        for second in range(0, 41):
            clock.now = 1000.0 + second
            shown.show(second / 64, f"step {second}")
    assert lines == [
        "work  16%: step 10  0:54 left",
        "work  31%: step 20  0:44 left",
        "work  47%: step 30  0:34 left",
        "work  62%: step 40  0:24 left",
    ]


def test_short_work_says_nothing(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("work", lines.append) as shown:
        for second in range(10):
            clock.now = 1000.0 + second
            shown.show(second / 9)
    assert lines == []


def test_the_end_is_no_line(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("work", lines.append) as shown:
        clock.now += 100
        shown.show(1.0)
    assert lines == []


def test_what_was_done_before_does_not_count_as_speed(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("work", lines.append) as shown:
        clock.now += 20
        shown.show(0.6, before=0.5)  # a tenth in 20 seconds: the other four take 80
    assert lines == ["work  60%: 1:20 left"]


def test_hours_are_hours() -> None:
    assert [progress.clock(s) for s in (0.4, 59.6, 3599, 3600, 166304, 1e9)] == [
        *("0:00", "1:00", "59:59", "1:00:00", "46:11:44", "99:59:59")
    ]


def test_no_time_left_is_made_up_before_anything_is_done(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("work", lines.append) as shown:
        clock.now += 20
        shown.show(0.5, "compiling", before=0.5)
    assert lines == ["work  50%: compiling"]


def test_track_passes_everything_on_and_counts(clock: Clock) -> None:
    lines: list[str] = []
    passed = []
    for item in track("abcd", 8, "frames", done=4, log=lines.append):
        passed.append(item)
        clock.now += 12
    assert passed == list("abcd")
    assert lines == [
        "frames  62%: 5 of 8  0:36 left",
        "frames  75%: 6 of 8  0:24 left",
        "frames  88%: 7 of 8  0:12 left",
    ]


def test_track_of_nothing() -> None:
    assert list(track([], 0, "frames")) == []


def test_without_a_log_the_lines_go_to_stderr(clock: Clock, error_stream: io.StringIO) -> None:
    with Progress("work") as shown:
        clock.now += 15
        shown.show(0.5)
    assert error_stream.getvalue() == "work  50%: 0:15 left\n"


def test_a_terminal_gets_a_bar_and_no_lines(
    clock: Clock, error_stream: io.StringIO, capsys: pytest.CaptureFixture
) -> None:
    error_stream.isatty = lambda: True  # type: ignore[method-assign]
    lines: list[str] = []
    with Progress("work", lines.append) as shown:
        assert shown.bar is not None
        clock.now += 30
        shown.show(0.25, "step 7")
        assert shown.bar.n == 250
        shown.show(2.0)  # a budget may be overrun
        assert shown.bar.n == 1000
    assert lines == []
    assert "work" in capsys.readouterr().err
