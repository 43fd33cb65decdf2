"""Result files as the tables of pages are made from, and their cells."""

import json
from pathlib import Path
from typing import Any


def write(folder: Path, name: str, results: dict[str, Any]) -> None:
    machine = {"device": "Some CPU, 2 threads", "date": "2026-11-21T10:00:00+00:00", "cores": 2}
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine, "results": results}))


def cells(lines: list[str], row: int) -> list[str]:
    return [cell.strip() for cell in lines[row].strip("|").split("|")]
