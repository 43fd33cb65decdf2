"""The table of edges against a dictionary of sides, on random triangles of every kind."""

import pytest
import torch

from nerfkit.mesh.edges import EdgeTable, corners_of


def test_two_triangles() -> None:
    table = EdgeTable.of(torch.tensor([[0, 1, 2], [2, 1, 3]]), 4)
    assert table.ends.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert table.face_edges.tolist() == [[0, 2, 1], [2, 3, 4]]
    assert table.sides.tolist() == [[0, -1], [2, -1], [1, 3], [4, -1], [5, -1]]
    assert table.regular.tolist() == [False, False, True, False, False]
    assert [end.tolist() for end in table.pairs()] == [[1], [3]]
    assert table.ends_of(table.regular).tolist() == [False, True, True, False]
    assert [corner.tolist() for corner in corners_of(torch.tensor([0, 5]), table.faces)] == [[0, 3], [1, 2], [2, 1]]


@pytest.mark.parametrize(("vertex_count", "face_count"), [(5, 0), (1, 2), (3, 1), (6, 40), (40, 60)])
def test_against_a_dictionary(vertex_count: int, face_count: int) -> None:
    """Few vertices: edges with many faces, faces that repeat, and faces that name a vertex twice."""
    faces = torch.randint(0, vertex_count, (face_count, 3), generator=torch.Generator().manual_seed(face_count))
    table = EdgeTable.of(faces, vertex_count)
    sides: dict[tuple[int, int], list[int]] = {}
    rising = []
    for f, face in enumerate(faces.tolist()):
        for k in range(3):
            start, end = face[k], face[(k + 1) % 3]
            sides.setdefault((min(start, end), max(start, end)), []).append(3 * f + k)
            rising.append(start < end)
    known = sorted(sides)
    assert [tuple(edge) for edge in table.ends.tolist()] == known
    assert table.keys.tolist() == [low * vertex_count + high for low, high in known]
    assert [side.tolist() for side in table.ordered.split(table.count.tolist())] == [sides[edge] for edge in known]
    assert table.start.tolist() == [sum(len(sides[edge]) for edge in known[:e]) for e in range(len(known))]
    for e, edge in enumerate(known):
        one, *others = sides[edge]
        assert (table.face_edges.flatten()[sides[edge]] == e).all()
        assert table.sides[e].tolist() == [one, others[0] if others else -1]
        assert bool(table.boundary[e]) == (not others)
        assert bool(table.regular[e]) == (len(others) == 1 and rising[one] != rising[others[0]])
    twos = [sides[edge] for edge in known if len(sides[edge]) == 2]
    assert torch.stack(table.pairs(), -1).tolist() == twos

    a, b = torch.cartesian_prod(torch.arange(vertex_count), torch.arange(vertex_count)).unbind(-1)
    asked = [(min(pair), max(pair)) in sides for pair in zip(a.tolist(), b.tolist(), strict=True)]
    assert table.joined(a, b).tolist() == asked
    ends = {end for e, edge in enumerate(known) if table.boundary[e] for end in edge}
    assert table.ends_of(table.boundary).nonzero().flatten().tolist() == sorted(ends)


def test_keys_of_short_integers_do_not_overflow() -> None:
    faces = torch.tensor([[0, 99_999, 70_000], [99_999, 0, 80_000]], dtype=torch.int32)
    table = EdgeTable.of(faces, 100_000)
    assert table.ends.tolist() == [[0, 70_000], [0, 80_000], [0, 99_999], [70_000, 99_999], [80_000, 99_999]]
    assert table.ends.dtype == torch.int64
