import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nerfkit.runs.lock import is_locked, locked

ROOT = Path(__file__).parents[2]
HOLD = "import sys; from pathlib import Path; from nerfkit.runs.lock import locked; f = locked(Path(sys.argv[1]))"


def test_a_lock_is_one_s_own_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert not is_locked(path) and not path.exists()
    held = locked(path)
    assert held is not None
    assert locked(path) is None and is_locked(path)
    path.open("a").close()  # what the log does frees nothing
    assert is_locked(path)
    held.close()
    assert not is_locked(path)


def test_a_lock_is_gone_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    code = f"{HOLD}; print('held', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(path)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"held\n"
    assert is_locked(path)
    process.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    process.wait()
    assert not is_locked(path)
    process.stdin.close()
    process.stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="whoever asks there excludes others")
def test_those_who_ask_are_in_nobody_s_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    path = tmp_path / "log.txt"
    path.touch()
    with path.open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not is_locked(path)
        end = threading.Timer(0.01, fcntl.flock, (asking, fcntl.LOCK_UN))
        end.start()
        held = locked(path)
        end.join()
    assert held is not None
    whole = Path.open

    def another_user_s(file: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if mode != "rb":
            raise PermissionError
        return whole(file, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", another_user_s)
    assert is_locked(path)
    held.close()
    assert not is_locked(path)
