"""The tables of docs/reliability.md: runs that were stopped, hostile inputs, fuzzing, several processes."""

from pathlib import Path

from benchmarks.results import NOT_RUN, RESULTS, filled_marks, load, table
from tests.torture import EVERY


def kills(folder: Path) -> list[str]:
    """Runs stopped at random moments and gone on with."""
    found = load("reliability_torture", folder)
    head = ["runs that were stopped at random moments and gone on with", "measured"]
    if found is None:
        return table(head, [["stopped", NOT_RUN]])
    made = found["results"]
    lost = f"{made['lost']:.2f} s; checkpoints are {EVERY} s apart"
    listed = [", ".join(f"{name} {count}" for name, count in made[key].items()) for key in ("signals", "moments")]
    rows = [
        ["stopped", f"{made['kills']}: {listed[0]}"],
        ["while the program was at", listed[1]],
        ["runs finished; of these with the weights, mesh, videos and metrics of one that nobody stopped", ""],
        ["training lost by a SIGKILL while the field was trained, at most", lost],
        ["something not as it should be", str(len(made["wrong"]))],
    ]
    rows[2][1] = f"{made['runs']}; {made['equal']}"
    return [*table(head, rows), "", *table(["fault", "what the program says"], _faults(made["faults"]))]


def _faults(faults: dict[str, str]) -> list[list[str]]:
    return [[name, said.replace("|", "/")] for name, said in faults.items()] or [[NOT_RUN, ""]]


def hostile(folder: Path) -> list[str]:
    """Inputs by format."""
    head = ["format", "tried", "refused with one message, exit code 2", "read", "wrong"]
    found = load("reliability_hostile", folder)
    if found is None:
        return table(head, [[NOT_RUN, "", "", "", ""]])
    rows = [
        [name, *(str(row[key]) for key in ("tried", "refused", "read", "wrong"))]
        for name, row in found["results"].items()
    ]
    return table(head, rows)


RUNS = ("executions", "seconds", "cpu_seconds")


def fuzz(folder: Path) -> list[str]:
    """Executions and findings of the fuzzer, by target."""
    head = ["target", "executions", "seconds", "of a CPU", "findings", "mended"]
    found = load("reliability_fuzz", folder)
    rows = [
        [
            name,
            *(f"{row[key]:,}" if key in row else NOT_RUN for key in RUNS),
            str(len(row["findings"])),
            str(_mended(row)),
        ]
        for name, row in (found["results"] if found else {}).items()
    ]
    return table(head, rows or [[NOT_RUN, "", "", "", "", ""]])


def _mended(row: dict) -> int:
    return sum(finding["mended"] for finding in row["findings"])


def processes(folder: Path) -> list[str]:
    """What several processes come to."""
    found = load("reliability_ranks", folder)
    head = ["processes of one run", "measured"]
    if found is None:
        return table(head, [["two, twice: the same bits", NOT_RUN]])
    made = found["results"]
    figures = ", ".join(f"{count}: {psnr:.2f}" for count, psnr in made["psnr"].items())
    off = ", ".join(f"{count}: {share:.1%}" for count, share in made["mean_weight_off"].items())
    rows = [
        ["two, twice: the same bits", "yes" if made["same_bits_twice"] else "no"],
        ["held-out PSNR by number of processes, dB", figures],
        ["mean difference of the weights from those of one process", off],
        ["one of two killed at a random moment; the run gone on with ends as one that nobody killed", ""],
    ]
    rows[3][1] = f"{made['as_expected']} of {len(made['kills'])}"
    restarts = [one for one in made.get("elastic", []) if one["killed"]]
    well = f"{sum(one['as_expected'] for one in restarts)} of {len(restarts)}" if restarts else NOT_RUN
    stages = ", ".join(sorted({one["stage"] or "start" for one in restarts}))
    rows.append([f"the same where `torchrun --max-restarts` starts both again; killed while at: {stages}", well])
    return table(head, rows)


SECTIONS = {"kills": kills, "hostile": hostile, "fuzz": fuzz, "processes": processes}


def fill(text: str, folder: Path = RESULTS) -> str:
    """docs/reliability.md with its tables made anew."""
    return filled_marks(text, lambda name: SECTIONS[name](folder))
