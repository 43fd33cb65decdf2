import re
import signal
import time

import numba
import pytest

from nerfkit.fit import loop
from nerfkit.fit.loop import Callback, Progress, optimize
from nerfkit.fit.watch import NotFiniteError
from nerfkit.runs.folder import Run


def test_steps_shares_and_watches():
    shares, looks = [], []

    def step(share):
        shares.append(share)
        return {"image": 1.0}

    assert (
        optimize(
            "fit", step, steps=10, callbacks=[Callback(looks.append, share=0.5), Callback(looks.append, share=1.0)]
        )
        == 10
    )
    assert shares == pytest.approx([k / 10 for k in range(10)])
    assert looks == [0, 0, 5, 10, 10]


def test_a_fit_that_goes_on_is_logged_and_looked_at_as_in_one_go(tmp_path):
    def points(*ends):
        looks, run = [], Run(tmp_path / str(len(ends)))
        run.scalar = lambda tag, value, step: logged.append(step)
        logged, progress = [], Progress()
        for end in ends:
            optimize(
                "fit",
                lambda _: {"image": 1.0},
                steps=10,
                run=run,
                log_every=3,
                callbacks=[Callback(looks.append, steps=4)],
                until=lambda _, end=end: progress.step == end,
                progress=progress,
            )
        return logged, looks

    assert points(10) == ([1, 1, 4, 4, 7, 7, 10, 10], [0, 4, 8, 10])
    logged, looks = points(5, 10, 10)
    assert [step for step in logged if step != 5] == [1, 1, 4, 4, 7, 7, 10, 10]
    assert [step for step in looks if step != 5] == [0, 4, 8, 10]


def test_a_bound_in_seconds_ends_it_and_watching_is_free():
    def step(share):
        time.sleep(0.02)
        return {}

    done = optimize(
        "fit", step, steps=1000, max_seconds=0.2, callbacks=[Callback(lambda _: time.sleep(0.3), share=0.5)]
    )
    assert 2 <= done <= 11


def test_compiling_is_not_charged():
    def step(share):
        exec("def kernel(x):\n    for k in range(3):\n        x += k\n    return x", found := {})
        begin = time.perf_counter()
        numba.njit(found["kernel"])(1.0)
        compiling.append(time.perf_counter() - begin)
        return {}

    compiling, progress = [], Progress()
    optimize("fit", step, steps=3, progress=progress)
    assert progress.seconds < 0.5 * sum(compiling)


def test_compiling_does_not_lengthen_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = [0.0]

    def step(share: float) -> dict[str, float]:
        if not share:
            time.sleep(0.4)
            compiled[0] += 0.4
        return {}

    monkeypatch.setattr(loop, "compile_seconds", lambda: compiled[0])
    monkeypatch.setattr("nerfkit.runs.progress.SECONDS_BETWEEN_LINES", 0.0)
    optimize("fit", step, steps=50)
    minutes, seconds = re.search(r"step 1 +(\d+):(\d+) left", capsys.readouterr().err).groups()
    assert 60 * int(minutes) + int(seconds) < 10  # 20 if compiling counted


@pytest.mark.parametrize(("pressed", "calls"), [(2, ["save 2"]), (3, ["check 3", "save 3"])])
def test_ctrl_c_in_the_last_step_leaves_out_nothing_that_follows_it(pressed: int, calls: list[str]) -> None:
    done: list[str] = []

    def step(share: float) -> dict[str, float]:
        if progress.step + 1 == pressed:
            signal.raise_signal(signal.SIGINT)
        return {}

    progress, before = Progress(), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            optimize(
                "fit",
                step,
                steps=3,
                progress=progress,
                callbacks=[
                    Callback(lambda step: done.append(f"check {step}"), share=1.0, first=False),
                    Callback(lambda step: done.append(f"save {step}"), seconds=1e9, first=False, stopped=True),
                ],
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == calls


def test_it_ends_where_that_was_enough():
    losses, looks = iter((5.0, 3.0, 1.0, 0.5)), []
    done = optimize(
        "fit",
        lambda _: {"image": next(losses)},
        steps=100,
        callbacks=[Callback(looks.append, share=1.0)],
        until=lambda terms: terms["image"] < 2,
    )
    assert (done, looks, next(losses)) == (3, [0, 3], 0.5)


def test_a_loss_that_is_not_finite_names_its_term():
    with pytest.raises(NotFiniteError, match=r"^deform: step 0: .*term: edge\) \(photo 7\)\. "):
        optimize("deform", lambda _: {"image": 1.0, "edge": float("nan")}, steps=3, blame=lambda: "photo 7")


def test_a_gradient_that_is_not_finite_names_its_step():
    def step(share):
        if share > 0:
            raise FloatingPointError("the gradient of the vertices is not finite")
        return {}

    with pytest.raises(
        NotFiniteError, match=r"^deform: step 1: the gradient of the vertices is not finite\. "
    ) as caught:
        optimize("deform", step, steps=3)
    assert caught.value.step == 1


def test_watches_that_fall_between_steps_are_all_called():
    looks = []
    optimize("fit", lambda _: {}, steps=100, callbacks=[Callback(looks.append, share=1 / 7)])
    assert looks == [0, 15, 29, 43, 58, 72, 86, 100]
