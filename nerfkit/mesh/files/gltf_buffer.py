"""The binary chunk of a GLB file while it is filled: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html."""

import numpy as np

_FLOAT, _UINT32 = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


class Buffer:
    """The bytes, with the views and accessors that describe them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def add_view(self, content: bytes, target: int | None = None) -> int:
        """Bytes at a multiple of four; the view's number."""
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += content
        self.data += b"\0" * (-len(self.data) % 4)
        return len(self.views) - 1

    def add(self, array: np.ndarray, kind: str, bounds: bool = False, drawn: bool = True) -> int:
        """A table of uint32, indices, or of float32; the accessor's number.

        Args:
            kind: glTF's, such as VEC3.
            bounds: state the least and the largest of each column.
            drawn: it is what a mesh is drawn from, which its view then says; not of an animation's.
        """
        indices = array.dtype == np.uint32
        target = _ELEMENT_ARRAY_BUFFER if indices else _ARRAY_BUFFER
        view = self.add_view(array.tobytes(), target if drawn else None)
        accessor = {
            "bufferView": view,
            "componentType": _UINT32 if indices else _FLOAT,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": np.atleast_1d(array.min(0)).tolist(), "max": np.atleast_1d(array.max(0)).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1
