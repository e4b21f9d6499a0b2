"""A sweep of 12 short runs through Snakemake: its table must be that of the serial one, wherever it runs and whoever kills it.

`make sweep-test` runs this. Slurm is a real one, of two nodes on this machine; Kubernetes' part is played by a server that takes each job's
specification and runs its command in an empty folder.
"""

import contextlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from dae_keras import sweep
from dae_keras.tables import read_table

pytestmark = pytest.mark.engine

REPOSITORY = Path(__file__).resolve().parents[1]
SLURM = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "munged", "mariadbd")
RUNS = 12


@pytest.fixture(scope="module", autouse=True)
def _engine():
    if sweep.engine() is None:
        pytest.skip("Snakemake is not here: make sweep-engine")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The course's folder as a sweep needs it, so that nothing is written into the real one."""
    copy = tmp_path_factory.mktemp("course")
    shutil.copytree(REPOSITORY / "params", copy / "params")
    (copy / "notebooks").mkdir()
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        shutil.copy2(path, copy / "notebooks")
    for folder in ("data", "build"):
        (copy / folder).symlink_to(REPOSITORY / folder)
    # Two runs a job: half as many starts of TensorFlow.
    smoke = (copy / "params" / "sweeps" / "smoke.yaml").read_text()
    for name in ("serial", "killed", "cluster", "killed_cluster", "machines", "pods"):
        (copy / "params" / "sweeps" / f"{name}.yaml").write_text(smoke + "batch: 2\n")
    return copy


def start(course, name, *arguments, **environment):
    """Begin a sweep, as a process with a group of its own."""
    command = [sys.executable, "-m", "dae_keras.cli", "sweep", name, *arguments]
    return subprocess.Popen(
        command, cwd=course, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(course, name, *arguments, **environment):
    """Do a sweep to its end, which must be a good one; its table without the columns that time and place change."""
    process = start(course, name, *arguments, **environment)
    said, _ = process.communicate(timeout=1500)
    log = course / "runs" / "sweeps" / name / "engine.log"
    assert process.returncode == 0, f"{said}\n{log.read_text()[-3000:] if log.exists() else ''}"
    assert f"{RUNS} of {RUNS} runs are done" in said
    return table(course, name)


def table(course, name):
    rows = read_table(course / "runs" / "sweeps" / name / "results.csv")
    return [{key: value for key, value in row.items() if key not in ("seconds", "commit")} for row in rows]


def done(course, name):
    return len([*(course / "runs" / "sweeps" / name / "results").glob("*.json")])


def wait_for(course, name, runs, process):
    """Until so many runs are done, or the sweep has ended."""
    end = time.monotonic() + 900
    while done(course, name) < runs and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.2)


def lose_power(process):
    """Kill a process and all that it has started, at once."""
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


@pytest.fixture(scope="module")
def serial(course):
    """The table of the sweep without the engine."""
    rows = finish(course, "serial", "--serial")
    assert len(rows) == RUNS
    return rows


# -------------------------------------------------------------------------------------------------------------------- this machine


def test_killed_in_three_ways_a_sweep_ends_with_the_serial_table(course, serial):
    chance = random.Random(0)

    def lose_a_job(process):
        while True:  # between two jobs there is none, and one may end just now
            assert process.poll() is None
            with contextlib.suppress(psutil.NoSuchProcess):
                jobs = [each for each in psutil.Process(process.pid).children(recursive=True) if "--job" in each.cmdline()]
                if jobs:
                    chance.choice(jobs).kill()  # Snakemake tries it once more
                    break
        time.sleep(2)
        process.terminate()

    for runs, kill in ((1, lose_power), (4, lose_a_job), (7, lambda process: process.kill())):
        process = start(course, "killed")
        wait_for(course, "killed", runs, process)
        time.sleep(chance.uniform(0, 5))
        assert process.poll() is None
        kill(process)
        assert process.wait(timeout=120) in (-signal.SIGKILL, 143)
    # The last left the engine alone with the work: the next sweep waits for its end, and finds all done.
    assert finish(course, "killed") == serial


# Black-and-white images: grey ones would bring a judge along, whose training takes longer than all else.
STUDY = """\
model: VAE
profile: quick
set: {binarisation: dynamic, noise: none, bound_samples: 50, train_images: 500, validation_images: 100, test_images: 200, epochs: 1}
groups:
  - name: one
  - {name: two, set: {latent_dim: 5}}
  - {name: three, set: {seed: 1}}
  - {name: four, set: {importance_samples: 5}}
"""


def test_the_study_killed_three_times_ends_with_the_table_of_an_undisturbed_one(course):
    (course / "params" / "sweeps" / "vae.yaml").write_text(STUDY)

    def study(*arguments):
        return subprocess.Popen([sys.executable, "-m", "dae_keras.cli", "study", "vae", *arguments], cwd=course)

    def lines():
        rows = read_table(course / "notebooks" / "tables" / "vae_bounds.csv")
        return [{key: value for key, value in row.items() if key != "minutes"} for row in rows]

    assert study("--serial").wait(timeout=600) == 0
    undisturbed = lines()
    assert [row["run"] for row in undisturbed] == ["one", "two", "three", "four"]
    shutil.rmtree(course / "runs" / "sweeps" / "vae")
    chance = random.Random(2)
    for runs in (0, 1, 3):
        process = study()
        wait_for(course, "vae", runs, process)
        time.sleep(chance.uniform(0, 8))
        lose_power(process)
        process.wait(timeout=60)
    assert study().wait(timeout=600) == 0
    assert lines() == undisturbed


# --------------------------------------------------------------------------------------------------------------------------- Slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Two nodes on loopback: the environment that finds them."""
    missing = [program for program in SLURM if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing or os.geteuid():
        pytest.skip(
            "a Slurm on this machine needs root and Debian's packages: apt-get install slurmctld slurmd slurmdbd slurm-client munge "
            f"mariadb-server (missing: {', '.join(missing) or 'root'})"
        )
    if Path("/etc/slurm/slurm.conf").exists():
        pytest.skip("/etc/slurm/slurm.conf is there: this machine has a Slurm of its own, which the test must not disturb")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    script = REPOSITORY / "tests" / "slurm_two_nodes.sh"
    try:
        subprocess.run(
            ["bash", script, "start", folder], check=True, timeout=120, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
        )
        yield environment
    finally:
        subprocess.run(["bash", script, "stop", folder], check=True, timeout=60)
        time.sleep(3)
        shutil.rmtree(folder, ignore_errors=True)


def nodes_of_finished_jobs(environment):
    """The node of each job that came to a good end; the account of the last one is a moment late."""
    time.sleep(5)
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=nodelist,state"]
    listed = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split("|")[0] for line in listed if line.endswith("|COMPLETED")]


def test_two_slurm_nodes_share_a_sweep_and_its_table_is_the_serial_one(course, serial, slurm):
    assert finish(course, "cluster", "--on", "slurm", **slurm) == serial
    nodes = nodes_of_finished_jobs(slurm)
    assert len(nodes) == RUNS / 2
    assert set(nodes) == {"n1", "n2"}


def test_killed_three_times_at_random_a_sweep_on_slurm_ends_with_the_serial_table(course, serial, slurm):
    chance = random.Random(1)
    for runs in sorted(chance.sample(range(8), 3)):
        process = start(course, "killed_cluster", "--on", "slurm", **slurm)
        wait_for(course, "killed_cluster", runs, process)
        time.sleep(chance.uniform(3, 10))
        # The machine that submits loses power: what it has submitted goes on, and nobody tells the next driver.
        lose_power(process)
        process.wait(timeout=60)
    assert finish(course, "killed_cluster", "--on", "slurm", **slurm) == serial


# ---------------------------------------------------------------------------------------------------------------------------- ssh


def test_machines_that_ssh_reaches_share_a_sweep(course, serial, tmp_path):
    # In the place of ssh a script that notes the machine, and runs the command here.
    (tmp_path / "ssh").write_text(f'#!/bin/bash\necho "$1" >>{tmp_path}/asked\nexec bash -c "$2"\n')
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "hosts").write_text("# two of them\none 1\ntwo 1\n")
    table = finish(course, "machines", "--on", "ssh", "--cores", "2", SWEEP_SSH=str(tmp_path / "ssh"), SWEEP_HOSTS=str(tmp_path / "hosts"))
    assert table == serial
    assert set((tmp_path / "asked").read_text().split()) == {"one", "two"}


# --------------------------------------------------------------------------------------------------------------------- Kubernetes


@pytest.fixture
def kubernetes(tmp_path):
    """A server with Kubernetes' interface that runs each job's command in an empty folder: the jobs' specifications, and its address."""
    specifications, ended = {}, {}

    def work(name, command):
        # A pod's own Snakemake is that of the image.
        folder = tempfile.mkdtemp(dir=tmp_path)
        path = f"{Path(sweep.engine()).parent}:{os.environ['PATH']}"
        with (tmp_path / f"{name}.log").open("w") as log:
            code = subprocess.run(
                ["/bin/sh", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, stdout=log, stderr=log
            ).returncode
        ended[name] = code

    class Server(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body, code=200):
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/jobs"):
                specifications[body["metadata"]["name"]] = body
                command = body["spec"]["template"]["spec"]["containers"][0]["args"][1]
                deployed = command.partition(" && ")[2] if command.startswith("pip install") else command  # the image has it
                threading.Thread(target=work, args=(body["metadata"]["name"], deployed), daemon=True).start()
            self.answer(body, 201)

        def do_GET(self):
            if "/jobs/" in self.path:
                code = ended.get(self.path.split("/")[-2])
                status = {} if code is None else {"failed": 1} if code else {"succeeded": 1}
                self.answer({"metadata": {"name": "a job"}, "status": status})
            else:
                self.answer({"items": []})

        def do_DELETE(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.answer({"status": "Success"})

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    configuration = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "nobody", "user": {"token": "none"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
        "current-context": "here",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(configuration))
    yield specifications, str(tmp_path / "config")
    server.shutdown()


def test_the_jobs_that_kubernetes_is_sent_make_the_serial_table(course, serial, kubernetes, tmp_path):
    specifications, configuration = kubernetes
    profile = course / "params" / "sweeps" / "profiles" / "kubernetes" / "config.yaml"
    profile.write_text(profile.read_text().replace("/course", str(course)).replace("jobs: 100", "jobs: 2"))
    table = finish(course, "pods", "--on", "kubernetes", KUBECONFIG=configuration)
    assert table == serial
    assert len(specifications) == RUNS / 2
    for each in specifications.values():
        pod = each["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert container["image"] == "registry.example.org/dae-keras:1.0.0"
        assert container["resources"]["requests"] == {"cpu": "950m", "memory": "2000M"}
        assert {"name": "course", "mountPath": str(course)} in container["volumeMounts"]
        assert {"name": "course", "persistentVolumeClaim": {"claimName": "course"}} in pod["volumes"]
