"""`partseg launch slurm`: the script of a job, run with stand-ins for what a cluster has."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from partseg_cli.errors import RecipeError, UsageError
from partseg_cli.pipeline.launch import SlurmJob, slurm_script

BASH = shutil.which("bash") or pytest.skip("there is no bash", allow_module_level=True)
STAND_INS = {
    # as on the second machine of three: srun hands its own words over and runs the rest
    "srun": """while [[ $1 == --* ]]; do echo "srun $1" >> "$TOLD"; shift; done; SLURM_NODEID=${NODE:-1} exec "$@" """,
    "scontrol": 'echo "scontrol $*" >> "$TOLD"; printf "node-7\\nnode-8\\nnode-9\\n"',
    "torchrun": """printf "%s\\n" "$@" > "$WORDS"; kill -USR1 $$; echo alive >> "$TOLD" """,
    "sbatch": 'cat > "$TOLD"; [[ -z ${REFUSE:-} ]] || { echo "sbatch: no  such partition" >&2; exit 3; }\n'
    'echo "Submitted batch job 5"',
}


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Put stand-ins on PATH, and give their folder: `told` is what they were told, `words` those of torchrun."""
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{BASH}\n{body}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("WORDS", str(tmp_path / "words"))
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node-[7-9]")
    return tmp_path


def run(script: str) -> subprocess.CompletedProcess:
    return subprocess.run([BASH, "-s"], input=script, capture_output=True, text=True, check=False)


def test_the_whole_script():
    job = SlurmJob(
        nodes=2, gpus=4, time="1-12", partition="long", account="lab", memory="200G", setup="source v/bin/activate"
    )
    assert slurm_script("pascal_zeroshot", ["train.lr=1e-3"], job) == (
        """#!/usr/bin/env bash
#SBATCH --job-name=pascal_zeroshot
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=20
#SBATCH --mem=200G
#SBATCH --time=1-12
#SBATCH --partition=long
#SBATCH --account=lab
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120
#SBATCH --requeue

set -euo pipefail
set +u
source v/bin/activate
set -u

# All machines meet at the first one.
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
host=${hosts%%$'\\n'*}
port=$((20000 + SLURM_JOB_ID % 10000))
run=runs/train/pascal_zeroshot-slurm-"$SLURM_JOB_ID"

# USR1, 120 s before the end, is for the processes that train; torchrun itself has to outlive it.
srun --kill-on-bad-exit=1 --cpus-per-task=20 bash -c """
        """'trap "" USR1; exec torchrun --rdzv-conf "is_host=$((SLURM_NODEID == 0))" "$@"' torchrun \\
  --nnodes 2 --nproc-per-node 4 \\
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$host:$port" \\
  -m partseg_cli train pascal_zeroshot train.lr=1e-3 \\
  --out "$run" --resume auto --requeue
"""
    )


ODD = "a 'b' \"c\" $HOME `date` \\ #; & é.yaml"


@pytest.mark.parametrize(("node", "is_host"), [("0", "1"), ("1", "0")])
def test_each_machine_runs_torchrun_with_the_very_words_that_were_given(cluster, node, is_host, monkeypatch):
    monkeypatch.setenv("NODE", node)
    recipe = cluster / ODD
    shutil.copy(Path(__file__).parents[2] / "recipes/tiny.yaml", recipe)
    overrides = ["data.root=/some where/$x", "data.split=it's.yaml", "train.batch_size=8"]
    script = slurm_script(str(recipe), overrides, SlurmJob(nodes=2, gpus=2, cpus=3, name="x y", out=cluster / ODD))
    assert run(script).returncode == 0
    assert (cluster / "words").read_text().splitlines() == [
        *("--rdzv-conf", f"is_host={is_host}", "--nnodes", "2", "--nproc-per-node", "2", "--rdzv-id", "123456"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "node-7:23456"),
        *("-m", "partseg_cli", "train", str(recipe), *overrides),
        *("--out", str(cluster / ODD), "--resume", "auto", "--requeue"),
    ]
    assert (cluster / "told").read_text().splitlines() == [
        "scontrol show hostnames node-[7-9]",
        *("srun --kill-on-bad-exit=1", "srun --cpus-per-task=3"),
        "alive",  # torchrun outlives the signal
    ]
    assert "#SBATCH --job-name='x y'\n" in script


def test_the_run_folder_is_the_same_whenever_the_job_is_started_again(cluster):
    script = slurm_script("tiny", [], SlurmJob(gpus=2))
    folders = []
    for _ in range(2):
        run(script)
        words = (cluster / "words").read_text().splitlines()
        folders.append(words[words.index("--out") + 1])
    assert folders == ["runs/train/tiny-slurm-123456"] * 2


def test_the_setup_may_read_variables_that_are_not_set_and_what_follows_may_not(cluster):
    script = slurm_script("tiny", [], SlurmJob(setup='export SET_UP="yes$NEVER_SET"; echo "$SET_UP"'))
    assert run(script).stdout == "yes\n"
    assert "\nset -euo pipefail\nset +u\n" in script
    assert slurm_script("tiny", [], SlurmJob()).count("set +u") == 0


@pytest.mark.parametrize("broken", ["scontrol", "torchrun"])
def test_a_step_that_fails_fails_the_job(broken, cluster):
    (cluster / "bin" / broken).write_text(f"#!{BASH}\nexit 9\n")
    assert run(slurm_script("tiny", [], SlurmJob())).returncode == 9
    assert (cluster / "told").exists() == (broken == "torchrun")


@pytest.mark.parametrize(
    "job",
    [
        SlurmJob(),
        SlurmJob(nodes=4, time="90", memory="0", cpus=64),
        SlurmJob(gpus=4, setup="module load cuda\nsource a/b", out=Path("o")),
    ],
)
def test_bash_can_read_the_script(job):
    script = slurm_script("tiny", [], job)
    subprocess.run([BASH, "-n"], input=script, text=True, check=True, capture_output=True)
    head = script.split("\n\n")[0].splitlines()
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in head[1:])


def test_cores_are_for_the_processes_and_their_readers():
    assert "--cpus-per-task=2\n" in slurm_script("tiny", [], SlurmJob(gpus=2))  # it has data.workers 0
    assert "--cpus-per-task=8\n" in slurm_script("tiny", ["data.workers=3"], SlurmJob(gpus=2))


# ---- the command


def test_a_dry_run_prints_the_script_alone(partseg):
    words = ["tiny", "--nodes", "2", "--gpus", "2", "--time", "12:00:00", "--partition", "p", "--account", "a"]
    words += ["--cpus", "5", "--mem", "9G", "--job-name", "j", "--setup", "true", "--out", "o"]
    ended = partseg("launch", "slurm", *words, "--dry-run")
    job = SlurmJob(2, 2, "12:00:00", "p", "a", 5, "9G", "j", "true", Path("o"))
    assert (ended.code, ended.out, ended.err) == (0, slurm_script("tiny", [], job), "")


def test_without_dry_run_sbatch_takes_the_script(partseg, cluster):
    ended = partseg("launch", "slurm", "tiny", "train.lr=1", "--gpus", "2")
    assert (ended.code, ended.out, ended.err) == (0, "Submitted batch job 5\n", "")
    assert (cluster / "told").read_text() == slurm_script("tiny", ["train.lr=1"], SlurmJob(gpus=2))


def test_a_job_that_sbatch_refuses_is_told(partseg, cluster, monkeypatch):
    monkeypatch.setenv("REFUSE", "yes")
    ended = partseg("launch", "slurm", "tiny")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == ("error: sbatch must take the job, got exit 3 and 'sbatch: no such partition'; see --dry-run\n")


def test_without_sbatch_a_dry_run_is_offered(partseg, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = partseg("launch", "slurm", "tiny")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: launch slurm needs sbatch, got none on PATH; run it on the cluster, or add --dry-run\n"
    )


@pytest.mark.parametrize(
    ("name", "overrides", "job", "message"),
    [
        (
            "nano_clip",
            [],
            SlurmJob(),
            "nano_clip: must train a model of parts, got task captions; use it with `partseg train`",
        ),
        ("tiny", ["lr=1"], SlurmJob(), "override must read section.key=value, got 'lr=1'; for example train.lr=1e-4"),
    ],
)
def test_a_recipe_that_cannot_be_trained_so_is_never_queued(name, overrides, job, message):
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        slurm_script(name, overrides, job)


def test_a_batch_that_does_not_divide_is_warned_of_before_the_script_and_never_submitted(partseg):
    words = ("launch", "slurm", "pascal_zeroshot", "--nodes", 4, "--gpus", 8)
    problem = (
        "pascal_zeroshot: train.batch_size must be divisible by the number of processes, got 8 over 32; use 8 "
        "processes, or another training with train.batch_size=32\n"
    )
    ended = partseg(*words, "--dry-run")
    assert (ended.code, ended.err) == (0, f"warning: the job would end with: {problem}")
    assert "--nnodes 4 --nproc-per-node 8" in ended.out
    assert partseg(*words) == (2, "", f"error: {problem}")


@pytest.mark.parametrize("time", ["5", "5:30", "12:00:00", "2-0", "2-12", "2-12:30", "2-12:30:00"])
def test_a_time_limit_is_what_sbatch_reads(time):
    assert f"#SBATCH --time={time}\n" in slurm_script("tiny", [], SlurmJob(time=time))


@pytest.mark.parametrize("time", ["", "12h", "1:2:3:4", "2-", "-5", "1-2-3", "5\n#SBATCH --account=x"])
def test_another_time_limit_is_refused(time):
    message = f"--time must be minutes, HH:MM:SS or D-HH:MM:SS, got {time!r}; for example 12:00:00"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        slurm_script("tiny", [], SlurmJob(time=time))


@pytest.mark.parametrize(
    ("key", "option"), [("partition", "partition"), ("account", "account"), ("memory", "mem"), ("name", "job-name")]
)
@pytest.mark.parametrize("value", ["", "a\nb", "a\n#SBATCH --x"])
def test_a_wish_that_would_leave_its_line_is_refused(key, option, value):
    message = f"--{option} must be a word that SLURM knows, got {value!r}; leave it out for the usual one"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        slurm_script("tiny", [], SlurmJob(**{key: value}))
