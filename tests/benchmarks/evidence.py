"""PartCLIPSeg and CLIPSeg on cartoons, and the ablations of the paper.

    partseg prepare cartoon-part --images 4000 --seed 0 --out data/cartoon-part
    partseg prepare cartoon-part --images 2500 --seed 7 --out data/cartoon-fresh
    python tests/benchmarks/evidence.py main --out runs/evidence
    python tests/benchmarks/evidence.py ablations --out runs/evidence

Training reads the first set, the scores are those of the 500 val scenes of the second, of another seed.
Each run has one thread, two go at a time. What is done already is kept: a stopped command goes on where it was.
The table, evidence.md, gives means over the seeds and their standard errors, the command and the commit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SEEDS = (0, 1, 2)
PROTOCOLS = ("oracle-obj", "pred-all")
METRICS = {"mIoU": "mIoU", "recall": "recall", "boundary_iou": "Boundary IoU"}
GROUPS = ("seen", "unseen", "harmonic")
QUARTER = ("train.iterations=300", "train.save_interval=300")
"""What an ablation has of the budget of recipes/cartoon.yaml."""
MAIN = {"PartCLIPSeg": ("cartoon", ()), "CLIPSeg": ("cartoon_clipseg", ())}
LOSSES = {
    "whole": (),
    "no attention losses": ("loss.lambda_sep=0", "loss.lambda_enh=0"),
    "separation alone, soft": ("loss.lambda_enh=0",),
    "separation alone, hard": ("loss.lambda_enh=0", "loss.separation=hard"),
    "enhancement alone": ("loss.lambda_sep=0",),
    "lambda_obj 0, lambda_part 0": ("loss.lambda_obj=0", "loss.lambda_part=0"),
    "lambda_obj 1, lambda_part 0": ("loss.lambda_part=0",),
    "lambda_obj 0, lambda_part 1": ("loss.lambda_obj=0",),
}
GAMMAS = {f"gamma {gamma}": (f"loss.gamma={gamma}",) for gamma in (0.1, 0.2, 0.4, 0.5)}
"""Of the whole it is 0.3."""


@dataclass(frozen=True)
class Run:
    """One training and its scores."""

    group: str
    name: str
    recipe: str
    overrides: tuple[str, ...]
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.group}-{''.join(c if c.isalnum() else '_' for c in self.name)}-{self.seed}"


def planned(group: str) -> list[Run]:
    """List the runs of a group, what matters most first, then seed by seed: a table of fewer can be read early."""
    if group == "main":
        blocks = [[(name, recipe, overrides) for name, (recipe, overrides) in MAIN.items()]]
    else:
        blocks = [
            [(name, "cartoon", (*QUARTER, *overrides)) for name, overrides in kinds.items()]
            for kinds in (LOSSES, GAMMAS)
        ]
    return [
        Run(group, name, recipe, overrides, seed)
        for block in blocks
        for seed in SEEDS
        for name, recipe, overrides in block
    ]


def carry_out(run: Run, given: argparse.Namespace) -> None:
    """Train and evaluate, unless that is done."""
    folder = given.out / run.folder
    extra = (*run.overrides, *given.overrides, f"train.seed={run.seed}", f"data.root={given.data}")
    if not (folder / "train/checkpoints/selected.json").is_file():
        call("rm", "-rf", str(folder / "train"))
        partseg("train", run.recipe, *extra, "--out", str(folder / "train"), "--device", "cpu")
    for protocol in PROTOCOLS:
        target = folder / protocol
        if not (target / "results.json").is_file():
            words = ("--checkpoint", str(folder / "train"), "--protocol", protocol, "--out", str(target))
            limit = () if given.limit is None else ("--limit", str(given.limit))
            partseg(
                "evaluate", "--dataset", str(given.fresh), *words, *limit, "--bootstrap-samples", "0", "--device", "cpu"
            )
    print(f"done: {run.folder}", flush=True)


def partseg(*words: str) -> None:
    call(str(Path(sys.executable).parent / "partseg"), *words)


def call(*words: str) -> str:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **threads}, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def scores(run: Run, out: Path) -> dict[str, float] | None:
    """Return "protocol metric group" -> percent; None if the run is not done."""
    found = {}
    for protocol in PROTOCOLS:
        path = out / run.folder / protocol / "results.json"
        if not path.is_file():
            return None
        document = json.loads(path.read_text(encoding="utf-8"))
        for metric in METRICS:
            for group in GROUPS:
                found[f"{protocol} {metric} {group}"] = document[metric][group]
    return found


def log(values: list[float]) -> str:
    """Return a mean and its standard error, in percent."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.1f} ± {error:.1f}"


def table(group: str, out: Path) -> Iterator[str]:
    """Return the lines of a group's table: one row per kind of run, averaged over its seeds."""
    columns = [(protocol, metric) for protocol in PROTOCOLS for metric in METRICS]
    yield "| run | seeds | " + " | ".join(f"{METRICS[m]}, {p}" for p, m in columns) + " |"
    yield "|---" * (2 + len(columns)) + "|"
    runs = planned(group)
    for name in dict.fromkeys(run.name for run in runs):
        done = [found for run in runs if run.name == name and (found := scores(run, out)) is not None]
        if done:
            cells = (" / ".join(log([one[f"{p} {m} {g}"] for one in done]) for g in GROUPS) for p, m in columns)
            yield f"| {name} | {len(done)} | {' | '.join(cells)} |"


def differences(group: str, out: Path) -> Iterator[str]:
    """Return the mean difference to the group's first kind over the seeds, and its standard error."""
    runs = planned(group)
    names = list(dict.fromkeys(run.name for run in runs))
    found = {(run.name, run.seed): scores(run, out) for run in runs}
    for name in names[1:]:
        seeds = [seed for seed in SEEDS if found[names[0], seed] and found[name, seed]]
        for key in ("oracle-obj mIoU unseen", "oracle-obj mIoU harmonic", "pred-all mIoU harmonic"):
            gaps = [found[names[0], seed][key] - found[name, seed][key] for seed in seeds]
            if gaps:
                each = ", ".join(f"{gap:+.1f}" for gap in gaps)
                yield f"- {names[0]} minus {name}, {key}: {log(gaps)} (by seed: {each})"


def write(given: argparse.Namespace) -> str:
    """Write evidence.md, and give its text."""
    commit = call("git", "rev-parse", "--short", "HEAD").strip()
    lines = ["# Evidence on cartoons", "", "Percent, seen / unseen / harmonic, mean ± standard error over the seeds."]
    for group in ("main", "ablations"):
        if any(scores(run, given.out) for run in planned(group)):
            lines += ["", f"## {group}", "", *table(group, given.out), "", *differences(group, given.out)]
    lines += ["", f"`python {' '.join(sys.argv)}`, commit {commit}", ""]
    text = "\n".join(lines)
    (given.out / "evidence.md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=["main", "ablations", "table"])
    parser.add_argument("overrides", nargs="*", help="keys of the recipes to change in all runs")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--data", type=Path, default=Path("data/cartoon-part"))
    parser.add_argument("--fresh", type=Path, default=Path("data/cartoon-fresh"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=int, help="fresh scenes that are scored; default all 500")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.group != "table":
        with ThreadPoolExecutor(given.jobs) as pool:
            for job in [pool.submit(carry_out, run, given) for run in planned(given.group)]:
                job.result()
    print(write(given))


if __name__ == "__main__":
    main()
