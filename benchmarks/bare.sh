# bash benchmarks/bare.sh WHEELS OUT [WORDS]: `python -m benchmarks gpu --out OUT` from a bare checkout, without network.
#
# The machine has Python, torch, triton, numba, scikit-image, imageio, tqdm, tensorboard and pytest. WHEELS is a folder
# with what else the commands import; where there is a network, for the machine's Python:
#
#   pip download --no-deps --only-binary=:all: --python-version 3.12 -d WHEELS hydra-core omegaconf pyyaml trimesh
#   pip wheel --no-deps -w WHEELS antlr4-python3-runtime==4.9.3
#
# Photos are found in $NERFKIT_DATA (CONTRIBUTING.md); a scene without them says so, and the clock needs none.
set -eu
wheels=$1 out=$2
shift 2
site=$(mktemp -d)
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
for name in kernels conf; do [ -e nerfkit/$name ] || ln -s ../$name nerfkit/$name; done
export PYTHONPATH="$site:$PWD" PYTHONUNBUFFERED=1 NERFKIT_CACHE="${NERFKIT_CACHE:-$site/cache}"
mkdir -p "$out"
exec python3 -m benchmarks gpu --out "$out" "$@"
