"""Count the files and functions of the package whose code runs in a command.

    python tests/benchmarks/files_run.py            # predict, evaluate and train on a small drawn dataset
    python tests/benchmarks/files_run.py --list     # with the names of the files

Code that runs on import (module and class bodies) is not counted. Worker processes are not followed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path
from types import CodeType, FrameType

import partseg_cli
from partseg_cli.cli.app import main

PACKAGE = str(Path(partseg_cli.__file__).parent) + os.sep
COMMANDS = {
    "predict": f"predict {PACKAGE}assets/pictures/dog.png --vocab dog's.ear --device cpu --model nano",
    "evaluate": "evaluate cartoon --model nano --limit 4 --device cpu",
    "train": "train tiny --device cpu data.root=data/cartoon-part train.iterations=3",
}


def run(words: list[str]) -> set[CodeType]:
    """Run a command in this process; return the code objects of the package that were called."""
    called: set[CodeType] = set()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            called.add(frame.f_code)

    sys.argv = ["partseg", *words]
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        main()
    except SystemExit as end:
        if end.code not in (0, None):
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    names = ((code, code.co_filename) for code in called if code.co_flags & 0x2)
    return {code for code, name in names if name.startswith(PACKAGE) and name.endswith(".py")}


def report(name: str) -> None:
    """Run the command of this name in a new folder of runs, and print its counts."""
    words = [word.replace("dog's.ear", "dog's ear") for word in COMMANDS[name].split()]
    stdout = os.dup(1)
    os.dup2(2, 1)
    called = run(words)
    sys.stdout.flush()
    os.dup2(stdout, 1)
    files = sorted({code.co_filename.removeprefix(PACKAGE) for code in called})
    print(f"{name}: {len(files)} files, {len(called)} functions")
    if "--list" in sys.argv or os.environ.get("LIST"):
        print("  " + "\n  ".join(files))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        if "--list" in sys.argv:
            os.environ["LIST"] = "1"
        report(sys.argv[1])
    else:
        import subprocess

        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache", "HF_HUB_OFFLINE": "1"}
            prepare = [sys.executable, "-m", "partseg_cli", "prepare", "cartoon-part", "--images", "40", "--size", "96"]
            subprocess.run(prepare, cwd=folder, env=environment, check=True, stdout=2)
            for command in COMMANDS:
                call = [sys.executable, str(Path(__file__).resolve()), command, *sys.argv[1:]]
                subprocess.run(call, cwd=folder, env=environment, check=True)
