"""``python .ci/pin.py > requirements-ci.txt``: the versions that pip chooses today for ``.[dev]``, each with its hash.

A hash is that of the one file which pip would install here, for this Python and platform, from its own index; extra
indexes and folders of wheels are left aside. Torch and what only its CUDA build brings are left out: builds of one
version for CPUs and for CUDA are different files, and which one fits is the machine's matter.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = re.compile(r"nerfkit$|torch$|nvidia-|cuda-")
ASIDE = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")


def pins() -> list[str]:
    """A line for every package: ``NAME==VERSION --hash=sha256:...``."""
    around = {name: value for name, value in os.environ.items() if name not in ASIDE} | {"PIP_CONFIG_FILE": os.devnull}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["install", "-q", "--dry-run", "--ignore-installed", "--report", str(report)]
        words += ["-c", str(ROOT / "constraints.txt"), f"{ROOT}[dev]"]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True, env=around, stdout=sys.stderr)
        chosen = json.loads(report.read_text())["install"]
    lines = []
    for entry in chosen:
        name, version = entry["metadata"]["name"].lower().replace("_", "-"), entry["metadata"]["version"]
        if not OURS.match(name):
            lines.append(
                f"{name}=={version} --hash=sha256:{entry['download_info']['archive_info']['hashes']['sha256']}"
            )
    return sorted(lines)


if __name__ == "__main__":
    version = ".".join(map(str, sys.version_info[:2]))
    print(
        f"# What CI installs, made by .ci/pin.py with Python {version} on {sys.platform}; torch is left out, see there."
    )
    print("\n".join(pins()))
