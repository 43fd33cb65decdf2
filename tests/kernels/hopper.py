"""What ptxas made of Hopper's asynchronous matrix products: are their operands' registers left alone while they run?

An HGMMA may take its left operand from registers and reads them until a ``WARPGROUP.DEPBAR`` has waited for it. The
ptxas of Triton 3.6 and 3.7 (12.8) writes to them earlier in some pipelined loops (triton-lang/triton issue 9433): wrong
sums, now and then. A disassembly shows it, without a GPU.
"""

import re
import subprocess
import tempfile
from pathlib import Path

_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", re.MULTILINE)
_PRODUCT = re.compile(r"HGMMA\S*\s+R\d+, R(\d+), gdesc")
_WAIT = re.compile(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x(\d+)")
_BRANCH = re.compile(r"\bBRA\S*\s.*?(0x[0-9a-f]+)")
_DESTINATION = re.compile(r"^(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s+(?:!?U?P\w+, )*R(\d+)\b")
_NO_DESTINATION = ("ST", "LDGSTS", "HGMMA", "R2UR", "R2P", "ISETP", "FSETP", "DSETP", "BAR", "BRA", "RED")
_MOST_PENDING = 8


def disassemble(cubin: bytes) -> str:
    """SASS, by the disassembler in Triton's wheel."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(Path(knobs.nvidia.cuobjdump.path)), "-sass", file.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _written(instruction: str) -> set[int]:
    """Registers that an instruction writes."""
    match = _DESTINATION.match(instruction)
    if match is None or match[1].startswith(_NO_DESTINATION):
        return set()
    name, first = match[1], int(match[2])
    wide = {".128": 4, ".64": 2, ".WIDE": 2}
    size = max((number for suffix, number in wide.items() if suffix in name), default=1)
    if name.startswith("LDSM") and name.endswith((".2", ".4")):
        size = int(name[-1])
    if name.startswith("CS2R") and not name.endswith(".32"):
        size = 2
    return set(range(first, first + size))


def overwritten_operands(sass: str) -> list[str]:
    """``product <- instruction`` for each instruction that writes what a pending product reads; empty is good."""
    code = [(int(address, 16), text) for address, text in _LINE.findall(sass)]
    index = {address: i for i, (address, _) in enumerate(code)}
    found = []
    for start, (_, product) in enumerate(code):
        match = _PRODUCT.search(product)
        if match is None:
            continue
        operand = set(range(int(match[1]), int(match[1]) + 4))
        # Every way on from the product, with the number of groups committed since, its own among them.
        ways, seen = [(start, 0)], set()
        while ways:
            i, groups = ways.pop()
            while i < len(code) and (i, groups) not in seen:
                seen.add((i, groups))
                text = code[i][1]
                if _written(text) & operand:
                    found.append(f"{product} <- {text}")
                    break
                groups = min(groups + text.endswith("gsb0"), _MOST_PENDING)
                wait, branch = _WAIT.search(text), _BRANCH.search(text)
                if (wait and groups > int(wait[1])) or text.startswith("EXIT"):
                    break
                if branch:
                    ways.append((index[int(branch[1], 16)], groups))
                    if not text.startswith("@"):
                        break
                i += 1
    return found
