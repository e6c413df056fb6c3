"""Several processes come to what one comes to; they stop, resume and fail together."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jvcr.cli.train import validation_metrics
from jvcr.data import read_folder
from jvcr.training.checkpoint import CHECKPOINT, LOG
from jvcr.training.distributed import SynchronisedBatchNorm, synchronise_batch_norms
from jvcr.training.processes import Processes, precision
from jvcr.training.recipe import Recipe
from jvcr.training.trainer import Trainer

FLOAT32 = 1e-6
"""Relative error of figures that have been float32."""

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "RANK": "0"}
SRUN = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "3", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NTASKS": "8"}
BY_HAND = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "expected"),
    [
        ({}, None, None, Processes(1, 1, "jvcr")),
        ({}, 4, None, Processes(4, 1, "jvcr")),
        (BY_HAND, 2, 3, Processes(2, 3, "jvcr")),
        (TORCHRUN, None, None, Processes(3, 2, "torchrun")),
        (TORCHRUN, 3, 2, Processes(3, 2, "torchrun")),
        (SRUN, None, None, Processes(4, 2, "srun")),
        # A batch script without srun, and an allocation's shell: one process, whatever was reserved.
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None, None, Processes(1, 1, "jvcr")),
    ],
)
def test_who_starts_the_processes(environment, devices, nodes, expected):
    assert Processes.find(environment, devices, nodes) == expected


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "message"),
    [
        ({}, 0, None, "--devices must be at least 1, got 0"),
        ({}, None, 2, "torchrun or srun"),
        (TORCHRUN, 2, None, "--devices 2 --nodes 2, but torchrun has started 3 processes on each of 2 machines"),
        ({**TORCHRUN, "WORLD_SIZE": "7"}, None, None, "7 processes, which are not 3 on each"),
        ({**SRUN, "SLURM_NTASKS_PER_NODE": "8"}, None, 3, "--nodes 3, but srun has started 8"),
        ({k: v for k, v in SRUN.items() if k != "SLURM_NTASKS_PER_NODE"}, None, None, "--ntasks-per-node"),
    ],
)
def test_what_cannot_be_started(environment, devices, nodes, message):
    with pytest.raises(ValueError, match=message):
        Processes.find(environment, devices, nodes)


@pytest.mark.parametrize(
    ("processes", "cores", "environment", "expected"),
    [
        (Processes(), 8, {}, 8),
        (Processes(3), 8, {}, 2),
        (Processes(4), 2, {}, 1),
        (Processes(2, 5, "torchrun"), 8, {}, 4),
        (Processes(4, 2, "srun"), 16, {"SLURM_CPUS_PER_TASK": "6"}, 6),
        (Processes(4, 2, "srun"), 16, {}, 4),
    ],
)
def test_threads_of_a_process(processes, cores, environment, expected):
    assert processes.threads(cores, environment) == expected


def test_a_batch_that_cannot_be_shared():
    Processes(2, 2).check_batch(8)
    with pytest.raises(
        ValueError, match=r"batch_size is 10, which 4 processes cannot share equally: .* --set batch_size=8"
    ):
        Processes(2, 2).check_batch(10)


def test_an_accelerator_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=r"there is no cuda here that torch knows, but .*cpu"):
        Processes(accelerator="cuda").fabric("32-true")
    assert Processes(accelerator="cpu").fabric("32-true").device.type == "cpu"


def test_precision_of_older_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert precision("auto", "cuda") == "16-mixed"
    assert precision("auto", "mps") == "32-true"
    assert precision("64-true", "cuda") == "64-true"


def test_alone_a_synchronised_batch_norm_is_an_ordinary_one():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.Sequential(torch.nn.BatchNorm2d(5)))
    names, weight = list(network.state_dict()), network[1][0].weight
    image = torch.rand(4, 3, 2, 6)
    expected = network(image)
    synchronise_batch_norms(network, on_gpu=False)
    assert isinstance(network[1][0], SynchronisedBatchNorm) and network[1][0].weight is weight
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network(image), expected)
    assert network[1][0].num_batches_tracked == 2


@pytest.fixture(scope="module")
def together(tiny_table, face_folder, tmp_path_factory):
    """What each of two processes wrote, and where."""
    out = tmp_path_factory.mktemp("two")
    folder = Path(__file__).parent
    (out / "recipe.json").write_text(json.dumps(tiny_table))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(2):
        place = {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, folder / "rank_run.py", out / "recipe.json", face_folder, out]
        started.append(
            subprocess.Popen(command, env={**os.environ, **place}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    try:
        told = [process.communicate(timeout=600)[0].decode() for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)
    return out, [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2)]


def alone(table, face_folder, out, precision, resume=False):
    """One process, this one: losses of its steps, its outcome and the weights kept."""
    out.mkdir(exist_ok=True)
    faces = read_folder(face_folder)
    recipe = dataclasses.replace(Recipe.from_dict(table), precision=precision)
    run = Trainer(recipe, faces.split("train"), faces.split("val"), validation_metrics(faces.scheme), out)
    noted, step = [], run.learner.step

    def noting(*arguments):
        losses = step(*arguments)
        noted.append([float(v) for v in losses])
        return losses

    run.learner.step = noting
    if resume:
        run.resume()
    outcome = run.run()
    kept = run.learner.averaged_network.state_dict()
    return np.array(noted), outcome, {k: v.double().flatten().numpy() for k, v in kept.items()}


@pytest.fixture(scope="module")
def one(tiny_table, face_folder, tmp_path_factory):
    """The same training by one process, in float64."""
    return alone(tiny_table, face_folder, tmp_path_factory.mktemp("one"), "64-true")


def test_two_processes_come_to_what_one_comes_to(together, one):
    """In float64, where rounding is nothing: losses of every step, validation figures and each weight."""
    out, ranks = together
    losses, outcome, kept = one
    assert len(losses) == 9 and [r["64-true"]["part"] for r in ranks] == [2, 2]
    for rank in ranks:
        told = rank["64-true"]
        np.testing.assert_allclose(told["losses"], losses, rtol=FLOAT32)  # Fabric gives them so
        assert told["best"] == pytest.approx(outcome.best, rel=FLOAT32)
        assert told["average"].keys() == kept.keys()
        for name, values in kept.items():
            np.testing.assert_allclose(told["average"][name], values, rtol=1e-6, atol=1e-9, err_msg=name)
    steps = [json.loads(line)["step"] for line in (out / "64-true" / LOG).read_text().splitlines()]
    assert steps == [3, 6, 9]  # written once


def test_two_processes_in_float32(together, tiny_table, face_folder, tmp_path):
    """Up to rounding. AdamW makes a weight's step of a gradient that is all rounding: so the weights as a whole."""
    losses, outcome, kept = alone(tiny_table, face_folder, tmp_path, "32-true")
    weights = np.concatenate(list(kept.values()))
    for rank in together[1]:
        told = rank["32-true"]
        np.testing.assert_allclose(told["losses"], losses, rtol=2e-3)
        np.testing.assert_allclose(told["losses"][0], losses[0], rtol=1e-5)  # before any step
        assert told["best"] == pytest.approx(outcome.best, rel=1e-2)
        difference = np.concatenate([told["average"][name] for name in kept]) - weights
        assert np.linalg.norm(difference) < 1e-2 * np.linalg.norm(weights)


def test_a_signal_to_one_stops_both_and_one_goes_on(together, one, tiny_table, face_folder):
    out, ranks = together
    stopped = [r["stopped"] for r in ranks]
    assert [(s["finished"], s["steps"]) for s in stopped] == [(False, 5), (False, 5)]
    rest, outcome, after = alone(tiny_table, face_folder, out / "stopped", "64-true", resume=True)
    assert outcome.finished
    np.testing.assert_allclose(np.concatenate([stopped[0]["losses"], rest]), one[0], rtol=FLOAT32)
    for name, values in one[2].items():
        np.testing.assert_allclose(after[name], values, rtol=1e-6, atol=1e-9, err_msg=name)


def test_batch_norms_of_their_own(together, one):
    """The same running statistics on both in the end, other losses than with the whole batch's; the same if resumed."""
    first, second = (r["own"] for r in together[1])
    assert first["average"] == second["average"] and first["best"] == second["best"]
    assert first["losses"] == second["losses"] and first["part"] == 2
    assert np.abs(np.array(first["losses"]) - one[0]).max() > 1e-3
    parts = together[1][0]["own-parts"]
    np.testing.assert_allclose(parts["losses"], first["losses"], rtol=FLOAT32)
    for name, values in first["average"].items():
        np.testing.assert_allclose(parts["average"][name], values, rtol=1e-6, atol=1e-9, err_msg=name)


def test_an_error_on_one_stops_both(together):
    (who, why, seconds), (kind, text, _) = (r["error"] for r in together[1])
    assert (who, why) == ("StoppedByAnother", "process 1 of 2 cannot go on")
    assert kind == "FileNotFoundError" and ".png" in text
    assert seconds < 60


def test_jvcr_train_starts_its_processes(tiny_table, face_folder, tmp_path):
    """As a user calls it: one table of files, each line told once."""
    recipe = tmp_path / "tiny.toml"
    network = tiny_table["network"]
    lines = [
        'name = "tiny"',
        "batch_size = 4",
        "workers = 1",
        'precision = "32-true"',
        "stages = { separate = 1, joint = 1 }",
        "[network]",
        'preset = "compact"',
        *(f"{part}.{key} = {value}" for part in ("voxel", "coordinate") for key, value in network[part].items()),
    ]
    recipe.write_text("\n".join(lines))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "jvcr", "train", recipe, "--data", face_folder, "--out", out, "--devices", "2"]
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("24 faces seen") == 1 and done.stdout.count("weights:") == 1
    assert {p.name for p in out.iterdir()} == {"last.pt", "best.safetensors", "metrics.jsonl"}
    assert torch.load(out / CHECKPOINT, weights_only=True)["state"]["step"] == 6


def test_processes_that_cannot_share_a_batch_are_not_started(tiny_table, face_folder, tmp_path, capsys):
    from jvcr import cli

    recipe = tmp_path / "tiny.toml"
    recipe.write_text('name = "tiny"\nbatch_size = 4\n')
    with pytest.raises(SystemExit) as leaving:
        cli.main(["train", str(recipe), "--data", str(face_folder), "--devices", "3", "--out", str(tmp_path / "run")])
    assert leaving.value.code == 1
    assert "batch_size is 4, which 3 processes cannot share" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_processes_of_a_machine_share_one_copy_of_the_images(together):
    if sys.platform != "linux":
        pytest.skip("what a process maps is read from /proc")
    maps = [line.split() for told in together[1] for line in told["64-true"]["mapped"]]
    inodes = [fields[4] for fields in maps]
    assert inodes and all(inodes.count(inode) == 2 for inode in inodes), "each file is mapped by both"
    assert all(fields[-1] == "(deleted)" for fields in maps), "nothing is left when both are gone"
