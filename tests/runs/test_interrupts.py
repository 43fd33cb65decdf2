"""Ctrl-C is held back until a loop says that it may stop."""

import signal
import threading

import pytest

from nerfkit.runs.interrupts import Terminated, interrupts_held_back, take_terminations, terminate


@pytest.fixture(autouse=True)
def python_s_own_handler() -> object:
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    take_terminations()
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def loop(steps: int, presses: dict[int, int]) -> list[int]:
    """Which steps of a loop were finished when Ctrl-C is pressed ``presses[step]`` times in the midst of a step."""
    done = []
    try:
        with interrupts_held_back() as stop_if_asked:
            for step in range(steps):
                stop_if_asked()
                for _ in range(presses.get(step, 0)):
                    press()
                done.append(step)
    except KeyboardInterrupt:
        return done
    raise AssertionError("Ctrl-C was forgotten")


def test_it_waits_for_the_end_of_the_step_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert loop(3, {1: 1}) == [0, 1]
    assert capfd.readouterr().err.strip() == "stopping after this step; Ctrl-C again stops at once, without it"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_is_not_forgotten_at_the_end_of_the_block() -> None:
    assert loop(3, {2: 1}) == [0, 1, 2]


def test_a_second_one_does_not_wait() -> None:
    assert loop(3, {1: 2}) == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def stopped_by(*signals: int) -> None:
    """A step into which these signals come; raises what they raise."""
    with interrupts_held_back() as stop_if_asked:
        for number in signals:
            signal.raise_signal(number)
        stop_if_asked()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_sigterm_waits_for_the_end_of_the_step_too(first: int) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        stopped_by(first)
    assert stopped.type is (Terminated if first == signal.SIGTERM else KeyboardInterrupt)
    assert signal.getsignal(signal.SIGTERM) is terminate
    with pytest.raises(Terminated):
        stopped_by(first, signal.SIGTERM)  # a second signal does not wait


def test_sigterm_that_is_somebody_else_s_stays() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_terminations()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_an_error_inside_is_passed_on_and_the_handler_put_back() -> None:
    with pytest.raises(ValueError, match="inside"), interrupts_held_back():
        raise ValueError("inside")
    with pytest.raises(KeyboardInterrupt):
        press()


def test_a_handler_of_the_caller_s_own_stays() -> None:
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with interrupts_held_back() as stop_if_asked:
        press()
        stop_if_asked()
    assert seen == [signal.SIGINT]


def test_another_thread_may_use_it() -> None:
    entered = []

    def work() -> None:
        with interrupts_held_back() as stop_if_asked:
            stop_if_asked()
            entered.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]
