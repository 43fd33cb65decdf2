"""Which implementation runs, what is imported for it, and what every operation checks of its tensors."""

import contextlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from nerfkit.kernels import backend_for, use
from nerfkit.kernels.backend import implementation
from nerfkit.kernels.checks import FLOATS, expect, expect_vertices
from nerfkit.kernels.composite import composite
from nerfkit.kernels.harmonic_field import FieldSpec, harmonic_density
from tests.kernels.test_harmonic_field import make_weights

PACKAGE = "nerfkit.kernels.composite"


def test_the_backend_follows_device_and_dtype_unless_it_is_chosen():
    assert backend_for(torch.zeros(1)) == "cpu"
    assert backend_for(torch.zeros(1, dtype=torch.float64)) == "reference"
    with use("triton"):
        assert backend_for(torch.zeros(1)) == "triton"
        with use("reference"), implementation(PACKAGE, torch.zeros(1)) as kernels:
            assert kernels.__name__ == f"{PACKAGE}.reference"
    with implementation("nerfkit.kernels.antialias", torch.zeros(1), prefix="pixels_") as kernels:
        assert kernels.__name__ == "nerfkit.kernels.antialias.pixels_cpu"
    with pytest.raises(ValueError, match="unknown backend 'gpu'"), use("gpu"):
        pass


@pytest.mark.slow
def test_operations_are_imported_without_their_compilers():
    names = "antialias composite edge_gradient feature_field harmonic_field interpolate lazy_adam march philox"
    others = ["rasterize", "sample_rays", "soft_mask", "texture"]
    code = "".join(f"import nerfkit.kernels.{name}\n" for name in [*names.split(), *others])
    code += "import sys; print({'numba', 'triton'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert found.stdout.strip() == "set()"


def test_a_backend_that_cannot_be_had_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, f"{PACKAGE}.triton", raising=False)
    with use("triton"), pytest.raises(ImportError, match=r"composite on cpu: .* triton backend, got .*triton"):
        composite(torch.ones(2), torch.ones(2, 3), torch.zeros(2), torch.ones(2), torch.tensor([0, 2]))


def test_the_gpu_of_the_tensor_is_the_current_one_inside(monkeypatch):
    current = []

    @contextlib.contextmanager
    def device_of(tensor):
        current.append(tensor.device.index)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    tensor = SimpleNamespace(device=torch.device("cuda", 1), dtype=torch.float32, is_cuda=True)
    with use("reference"), implementation(PACKAGE, tensor):
        assert current == [1]
    assert current == []


def test_other_errors_inside_the_block_pass_through():
    with pytest.raises(ModuleNotFoundError, match="mine"), implementation(PACKAGE, torch.zeros(1)):
        raise ModuleNotFoundError("mine")


def test_tensors_of_one_call_lie_on_one_device():
    elsewhere = torch.zeros(2, 3, device="meta")
    with pytest.raises(ValueError, match=r"color: expected torch.float32 .* on cpu, got torch.float32 \(2,3\) on meta"):
        composite(torch.ones(2), elsewhere, torch.zeros(2), torch.ones(2), torch.tensor([0, 2]))
    spec = FieldSpec()
    weights = make_weights(spec, 8, 2)._replace(direction=torch.zeros(8, spec.direction_size, device="meta"))
    with pytest.raises(ValueError, match=r"weights.direction: expected .* on cpu, got .* on meta"):
        harmonic_density(elsewhere.new_zeros(2, 3, device="cpu"), weights, spec)


@pytest.mark.parametrize(
    ("shapes", "given", "message"),
    [
        ([(2, "C")], torch.zeros(3, 4), r"a: expected floats of shape \(2,C\), got torch.float32 \(3,4\) on cpu"),
        ([("F", 3), (2, "F", 3)], torch.zeros(2, 5, 2), r"of shape \(F,3\) or \(2,F,3\), got .* \(2,5,2\)"),
        ([("S",)], torch.zeros(3, dtype=torch.int32), r"floats of shape \(S,\), got torch.int32 \(3,\)"),
    ],
)
def test_expectations_are_spelled_out(shapes, given, message):
    with pytest.raises(ValueError, match=message):
        expect("a", given, *shapes, dtype=FLOATS)


def test_vertex_numbers_are_judged_by_what_is_required():
    """One tensor, as edges that need two ends, and as rows in which anything may be missing: the memory knows which."""
    rows = torch.tensor([[0, 1, -1], [-1, -1, -1]])
    for _ in range(2):
        expect_vertices("rows", rows, 2, required=2)
        expect_vertices("rows", rows, 2, required=0)
        with pytest.raises(ValueError, match=r"rows: row 0 is \(0, 1, -1\); expected vertex numbers from 0 to 1"):
            expect_vertices("rows", rows, 2)
    rows[1, 2] = 0
    with pytest.raises(ValueError, match="row 1 is"):
        expect_vertices("rows", rows, 2, required=2)
