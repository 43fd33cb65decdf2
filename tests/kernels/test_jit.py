"""The cache of compiled kernels does not outlive their sources."""

import os
from pathlib import Path

from nerfkit.kernels.jit import _drop_stale


def test_kernels_older_than_a_source_beside_them_are_dropped(tmp_path: Path) -> None:
    for name, source_time, kept in (("changed", 200, False), ("unchanged", 50, True)):
        cache = tmp_path / name / "__pycache__"
        cache.mkdir(parents=True)
        (cache / "cpu.f-1.py311.nbi").touch()
        os.utime(cache / "cpu.f-1.py311.nbi", (100, 100))
        for source, time in (("cpu.py", 10), ("helper.py", source_time)):
            (tmp_path / name / source).touch()
            os.utime(tmp_path / name / source, (time, time))
        _drop_stale(tmp_path)
        assert (cache / "cpu.f-1.py311.nbi").exists() == kept


def test_kernels_older_than_the_options_they_are_compiled_with_are_dropped(tmp_path: Path) -> None:
    cache = tmp_path / "operation" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "cpu.f-1.py311.nbi").touch()
    os.utime(cache / "cpu.f-1.py311.nbi", (100, 100))
    (tmp_path / "jit.py").touch()
    _drop_stale(tmp_path)
    assert not (cache / "cpu.f-1.py311.nbi").exists()
