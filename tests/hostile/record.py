"""What the hostile inputs and the fuzzer came to, as results: ``reliability_hostile`` and ``reliability_fuzz``.

``python -m tests.hostile.record`` reads every input of ``tests/hostile`` and counts by format what was refused and what
was read; the fuzzer's runs are recorded by its own ``--save``.
"""

import base64
import contextlib
import fcntl
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, save
from tests.hostile.test_hostile import LEAST, ROOT, answers, right


def format_of(case: str) -> str:
    """The format, or what else a case's name begins with: up to a comma, a colon or a number."""
    return re.split(r"[,:]| \d", case)[0]


def inputs() -> dict[str, dict[str, int]]:
    """By format: how many inputs were tried, refused and read, and at how many of them the answer was wrong."""
    counts: dict[str, Counter[str]] = {}
    for group in LEAST:
        with tempfile.TemporaryDirectory() as place:
            for row in answers(group, Path(place)):
                wrong = not right(row, str(Path(place) / "work"))
                if wrong:
                    print(json.dumps(row)[:2000])
                count = counts.setdefault(format_of(row["case"]), Counter())
                count.update({"tried": 1, "refused": row["outcome"] == "refused", "read": row["outcome"] == "read"})
                count["wrong"] += wrong
    total = Counter[str]()
    for count in counts.values():
        total.update(count)  # a sum would leave out what is 0
    return {key: dict(count) for key, count in sorted(counts.items())} | {"total": dict(total)}


def fuzzed(target: str, seconds: str = "60") -> None:
    """Fuzzes a target and adds executions, seconds, seconds of CPU and findings to those of earlier runs.

    A finding is the kind of the error with its place in nerfkit, the input, and whether it is mended: every run begins
    with the inputs of earlier findings, so that one without a finding of its own has been through all of them. Other
    targets may be fuzzed at the same time: the results are read again before they are written.
    """
    with tempfile.TemporaryDirectory() as place:
        seeds = Path(place) / "seeds"
        seeds.mkdir()
        for number, finding in enumerate(_entry(_results(), target)["findings"]):
            (seeds / f"{number}").write_bytes(zlib.decompress(base64.b64decode(finding["input"])))
        around = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        start, before = time.monotonic(), _child_seconds()
        command = [sys.executable, "-m", "tests.hostile.fuzz", target, seconds, str(seeds)]
        ended = subprocess.run(
            command, cwd=place, env=around | {"TMPDIR": place}, capture_output=True, text=True, errors="replace"
        )
        report = ended.stdout + ended.stderr  # atheris and libFuzzer
        took, worked = time.monotonic() - start, _child_seconds() - before
        print(report[-4000:])
        kept = [path for path in Path(place).iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
        new = {base64.b64encode(zlib.compress(path.read_bytes(), 9)).decode(): path.name for path in kept}
    with _alone():
        results = _results()
        entry = _entry(results, target)
        entry["seconds"] += round(took)
        entry["cpu_seconds"] = entry.get("cpu_seconds", 0) + round(worked)  # older runs have none
        entry["executions"] += int(re.findall(r"number_of_executed_units:\s+(\d+)", ended.stderr)[-1])
        for finding in entry["findings"]:
            finding["mended"] = not new or (finding["mended"] and finding["input"] not in new)
        known = {finding["input"] for finding in entry["findings"]}
        for packed, name in new.items():
            if packed not in known:
                entry["findings"].append({"error": _error(report, name), "input": packed, "mended": False})
        save("reliability_fuzz", dict(sorted(results.items())))


def _results() -> dict[str, Any]:
    """What earlier runs of the fuzzer came to, by target."""
    path = RESULTS / "reliability_fuzz.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


def _entry(results: dict[str, Any], target: str) -> dict[str, Any]:
    """A target's part of the results, made where there is none."""
    return results.setdefault(target, {"executions": 0, "seconds": 0, "findings": []})


def _child_seconds() -> float:
    """Seconds of CPU that processes started from here took until they ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other process is in here."""
    folder = os.open(RESULTS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _error(report: str, name: str) -> str:
    """The kind of an error and the innermost place in nerfkit, from the fuzzer's report; else the kind of finding."""
    kind = re.search(r"Uncaught Python exception: ===\s+([\w.]+)", report)
    places = re.findall(r'File "[^"]*?(nerfkit/[\w/]+\.py)", line \d+, in (\w+)', report)
    return f"{kind[1] if kind else name.split('-')[0]}" + (f" in {places[-1][0]}, {places[-1][1]}" if places else "")


if __name__ == "__main__":
    save("reliability_hostile", inputs())
