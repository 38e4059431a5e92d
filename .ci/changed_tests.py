"""Print the tests of the change at hand: of uncommitted files, or of the last commit where there are none.

A module's tests are in the folder of the same name below `tests`; a module's doctests are its own.
"""

import subprocess
from pathlib import Path

PACKAGE, TESTS = Path("partseg_cli"), Path("tests")
ALWAYS = ["tests/test_imports.py", "tests/test_style.py"]


def git(*words: str) -> list[str]:
    """Return the lines of a git command's output."""
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.splitlines()


def changed_files() -> list[Path]:
    """Return the files of the change that still exist."""
    names = git("diff", "--name-only", "HEAD") + git("ls-files", "--others", "--exclude-standard")
    return [path for name in names or git("diff", "--name-only", "HEAD~1") if (path := Path(name)).exists()]


def tests_of(path: Path) -> list[Path]:
    """Return the tests that are most likely to notice a change of a file.

    >>> tests_of(Path("partseg_cli/io/atomic.py"))
    [PosixPath('partseg_cli/io/atomic.py'), PosixPath('tests/io')]
    """
    if path.is_relative_to(TESTS):
        return [path] if path.name.startswith("test_") else []
    if path.is_relative_to(PACKAGE):
        folder = TESTS / path.parent.relative_to(PACKAGE)
        while not any(folder.glob("test_*.py")):
            folder = folder.parent
        beside = [TESTS / f"test_{path.stem}.py", TESTS / "test_cli.py"] if folder == TESTS else [folder]
        return [test for test in (path, *beside) if test.suffix in {"", ".py"} and test.exists()]
    return [TESTS / "config", TESTS / "test_readme.py"]


def main() -> None:
    """Print the paths, each once, none within another one."""
    paths = {test for path in changed_files() for test in tests_of(path)} | {Path(name) for name in ALWAYS}
    print(*sorted(str(path) for path in paths if not paths.intersection(path.parents)), sep="\n")


if __name__ == "__main__":
    main()
