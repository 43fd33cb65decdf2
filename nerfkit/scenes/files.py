"""Reading a data set from a folder or, without unpacking it, from a zip; every failure names the file."""

import contextlib
import os
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from reprlib import repr as brief
from types import TracebackType
from typing import Any

from nerfkit.errors import problem
from nerfkit.runs.archives import ERRORS, Archive
from nerfkit.runs.files import followed
from nerfkit.runs.untrusted import RefusedError, inside, parse_json, read_file

TRUTH = "truth.ply"  # the true mesh beside a data set's views, in their units and axes, where it is known


def is_safe_name(name: str) -> bool:
    """Whether a relative path stays inside the folder it is relative to, on every platform."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name)


def cache_folder() -> Path:
    """Where large things go that can be made again: ``$NERFKIT_CACHE``, or else ``~/.cache/nerfkit``."""
    return Path(os.path.expanduser(os.environ.get("NERFKIT_CACHE") or Path.home() / ".cache" / "nerfkit"))


def _is_shadow(name: str) -> bool:
    """Whether macOS put it beside a file: ``._NAME`` on foreign disks, ``__MACOSX/._NAME`` in zips."""
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith("._")


class Source:
    """A folder (or a JSON file in it) or a zip, read through the same methods in a ``with`` block.

    ``read`` may be called from threads.

    Names are relative, with forward slashes. What is read lies in the folder, links followed: see ``inside``.

    Raises:
        SceneError: ``root`` is missing, is neither a folder nor a readable zip, or the zip holds a name that leaves it
            or too many of them.
    """

    def __init__(self, root: str | Path) -> None:
        self.path = followed(root)
        self._zip: Archive | None = None
        self._names: frozenset[str] = frozenset()
        expected = "a folder or a zip"
        if not self.path.exists():
            raise problem(str(root), "no such file or folder", expected, "Check scene.root.")
        if self.path.suffix == ".json" and self.path.is_file():  # the data set that it describes
            self.path = self.path.parent
        if self.path.is_dir():
            return
        try:
            self._zip = Archive(self.path)
        except ERRORS as error:
            raise problem(
                str(root), f"not a readable zip ({error})", expected, "Copy or download the file again."
            ) from error
        entries = self._zip.names
        unsafe = next((name for name in entries if not is_safe_name(name)), None)
        if unsafe is not None:
            self._zip.close()
            raise problem(
                str(root),
                f"unsafe name {unsafe[:80]!r} in the zip",
                "relative names with forward slashes and without '..'",
                "Pack the folder again with an ordinary zip program.",
            )
        self._names = frozenset(name for name in entries if not name.endswith("/") and not _is_shadow(name))

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.close()

    def find(self, pattern: str) -> list[str]:
        """Names, sorted, of files that match ``pattern`` at the top or one folder down.

        One folder down, because that is where a zip made from a folder keeps its files.
        """
        if self._zip is None:
            paths = [path for q in (pattern, f"*/{pattern}") for path in self.path.glob(q) if path.is_file()]
            found = [name for path in paths if not _is_shadow(name := path.relative_to(self.path).as_posix())]
        else:
            depth = pattern.count("/")
            found = [
                name
                for name in self._names
                if name.count("/") in (depth, depth + 1) and fnmatch("/".join(name.split("/")[-depth - 1 :]), pattern)
            ]
        return sorted(found)

    def under(self, folder: str, deep: bool = True) -> list[str]:
        """Names, sorted, of the files in ``folder`` ("." for the top) and, if ``deep``, in the folders inside it."""
        if self._zip is None:
            found = []
            for parent, folders, files in os.walk(self.path / folder):
                inside = Path(parent).relative_to(self.path)
                found += [(inside / file).as_posix() for file in files]
                if not deep:
                    folders.clear()
        else:
            prefix = "" if folder == "." else f"{folder}/"
            found = [name for name in self._names if name.startswith(prefix)]
            found = [name for name in found if deep or "/" not in name[len(prefix) :]]
        return sorted(name for name in found if not _is_shadow(name))

    @property
    def name(self) -> str:
        """What the scene is called: the name of the folder, wherever one stands, or of the zip."""
        path = Path(os.path.abspath(self.path))
        return (path.stem if self._zip is not None else path.name) or "scene"

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name, which may be any text."""
        return name in self._names if self._zip is not None else os.path.isfile(self.path / name)

    def truth(self, folder: PurePosixPath) -> str | None:
        """The path of the true mesh in ``folder``; None if there is none, or if it is packed in a zip or leads out."""
        name = str(folder / TRUTH)
        if self._zip is not None or not self.exists(name):
            return None
        with contextlib.suppress(RefusedError):
            return str(inside(self.path, name))
        return None

    def where(self, name: str) -> str:
        """How a message names a file."""
        return f"{self.path} > {name}" if self._zip is not None else str(self.path / name)

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            SceneError: the file is missing, unreadable, encrypted, too large, fails the zip's checksum, or is a link
                that leads out of the folder.
        """
        try:
            return self._zip.read(name) if self._zip is not None else read_file(self._file(name))
        except (KeyError, FileNotFoundError) as error:
            raise problem(self.where(name), "the file is missing", "a file", "Restore it.") from error
        except ERRORS as error:
            raise problem(
                self.where(name), f"cannot be read ({error})", "an intact file", "Copy or download it again."
            ) from error

    def _file(self, name: str) -> Path:
        """The path of a file of a folder."""
        try:
            return inside(self.path, name)
        except RefusedError as error:
            raise problem(self.where(name), str(error), "a file of the data set's folder", "Copy it there.") from None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object.

        Raises:
            SceneError: as ``read``, or the text is not JSON, or its top level is not an object.
        """
        data = self.read(name)
        try:
            content = parse_json(data)
        except ValueError as error:  # also for an integer of more than 4300 digits
            raise problem(
                self.where(name), f"malformed JSON ({error})", "a JSON object", "Repair it, or export it again."
            ) from error
        if not isinstance(content, dict):
            raise problem(
                self.where(name), f"the top level is a {type(content).__name__}", "a JSON object", "Export it again."
            )
        return content


def require(content: dict[str, Any], key: str, where: str) -> Any:
    """The value at a dotted key of a JSON object.

    Raises:
        SceneError: a part of the key is missing.
    """
    value: Any = content
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise problem(where, f"the key {key!r} is missing", "the format's keys", "Export it again or add the key.")
        value = value[part]
    return value


def require_number(content: dict[str, Any], key: str, where: str) -> float:
    """The positive, finite number at a dotted key of a JSON object.

    Raises:
        SceneError: the key is missing, or its value is no such number.
    """
    value = require(content, key, where)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300:
        raise problem(where, f"{key} is {brief(value)}", "a positive number", "Export it again or fix the value.")
    return float(value)
