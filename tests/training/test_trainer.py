"""The loop: it learns, resumes to the same losses, stops politely, refuses what does not fit."""

import dataclasses
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from jvcr.cli.train import validation_metrics
from jvcr.data.pack import pack
from jvcr.data.readers.shards import read_shards
from jvcr.data.shards import ShardedDataset
from jvcr.model import RefinementConfig
from jvcr.scheme import FACE66, FACE68, LandmarkScheme
from jvcr.training import trainer as loop
from jvcr.training.checkpoint import CHECKPOINT, LOG, WEIGHTS, RunState, differences
from jvcr.training.optim import Schedule
from jvcr.training.processes import Processes
from jvcr.training.recipe import Recipe
from jvcr.training.trainer import Trainer
from jvcr.weights.safetensors import load_network, read_header


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(recipe, faces, out):
    out.mkdir(exist_ok=True)
    return Trainer(recipe, faces.split("train"), faces.split("val"), validation_metrics(faces.scheme), out)


def losses_of(run):
    """Makes a trainer note the total loss of each of its steps."""
    noted, step = [], run.learner.step

    def noting(*arguments):
        losses = step(*arguments)
        noted.append(float(losses.total))
        return losses

    run.learner.step = noting
    return noted


def interrupt_at(run, number):
    """Makes a trainer get Ctrl-C during a step, counted from 1."""
    step = run.learner.step

    def stopping(*arguments):
        if run.state.step == number - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments)

    run.learner.step = stopping


def changed(recipe, **parts):
    """A recipe with values of its parts replaced: changed(r, stages={"joint": 1})."""
    new = {k: dataclasses.replace(getattr(recipe, k), **v) if isinstance(v, dict) else v for k, v in parts.items()}
    return dataclasses.replace(recipe, **new)


def test_rare_apertures_reach_the_sampler_and_the_loss(tiny_recipe, faces, tmp_path):
    run = trainer(changed(tiny_recipe, data={"rare_share": 0.5}, loss={"aperture_weight": 2.0}), faces, tmp_path)
    assert run.sampler.rare.any() and run.sampler.rare_share == 0.5
    assert len(run.learner.loss.module.apertures.weights) == len(FACE68.contours)
    without = trainer(changed(tiny_recipe, loss={"aperture_weight": 0.0}), faces, tmp_path)
    assert without.learner.loss.module.apertures is None
    assert trainer(tiny_recipe, faces, tmp_path).sampler.rare is None


def test_runs_both_stages_and_keeps_weights(tiny_recipe, faces, tmp_path):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    outcome = run.run()
    assert outcome.finished and outcome.steps == 9 and outcome.faces == 36
    assert [run.schedule.stage(s) for s in (0, 2, 3, 8)] == ["separate", "separate", "joint", "joint"]
    entries = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [e["step"] for e in entries] == [3, 6, 9]
    assert set(entries[0]["val"]) == {"nme", "gte", "nme_a", "nme_b"}
    header = read_header(outcome.weights)
    assert header.scheme == FACE68 and header.config == tiny_recipe.network
    assert header.training["val"]["nme"] == outcome.best["nme"] == min(e["val"]["nme"] for e in entries[1:])
    assert load_network(outcome.weights).config == tiny_recipe.network


def test_losses_are_logged_and_never_without_a_checkpoint(tiny_recipe, faces, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    losses, append, steps = [], run.log.append, []
    step = run.learner.step

    def noting(*arguments):
        losses.append(step(*arguments))
        return losses[-1]

    def checked(self, entry):
        steps.append(torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["state"]["step"])
        append(entry)

    run.learner.step = noting
    monkeypatch.setattr(type(run.log), "append", checked)
    run.run()
    entries = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [(e["step"], "train" in e) for e in entries] == [
        (2, True), (3, False), (4, True), (6, True), (6, False), (8, True), (9, False),
    ]  # fmt: skip
    assert set(steps) == {1}  # written before the first line, then every few minutes
    expected = sum(float(loss.voxel) for loss in losses[2:4]) / 2
    assert entries[2]["train"]["voxel"] == pytest.approx(expected)
    terms = ["total", "voxel", "coordinate", "coarse", "refined", "apertures"]  # there are no labels by hand
    assert list(entries[2]["train"]) == terms


@pytest.mark.parametrize("stop_after", [2, 5])
def test_resume_gives_the_very_same_losses(tiny_recipe, faces, tmp_path, stop_after):
    whole = trainer(tiny_recipe, faces, tmp_path / "whole")
    expected = losses_of(whole)
    whole.run()

    first = trainer(tiny_recipe, faces, tmp_path / "parts")
    before = losses_of(first)
    interrupt_at(first, stop_after)
    outcome = first.run()
    assert not outcome.finished and outcome.steps == stop_after

    second = trainer(tiny_recipe, faces, tmp_path / "parts")
    after = losses_of(second)
    second.resume()
    assert second.run().finished
    assert before + after == expected
    for key, value in whole.learner.averaged_network.state_dict().items():
        assert torch.equal(value, second.learner.averaged_network.state_dict()[key]), key
    logs = [
        [json.loads(line)["val"] for line in (tmp_path / n / LOG).read_text().splitlines()] for n in ("whole", "parts")
    ]
    assert logs[0] == logs[1]


def test_overfits_four_faces(tiny_recipe, faces, tmp_path):
    recipe = changed(
        tiny_recipe,
        augmentation=dict.fromkeys(("flip", "rotate", "scale", "light", "noise", "occlude"), 0.0),
        stages={"separate": 100.0, "joint": 200.0},
        optimizer={"learning_rate": 5e-3, "schedule": "trapezoid", "decay_epochs": 150.0},
        validate_epochs=300.0,
    )
    four = faces.select(np.arange(4))
    (tmp_path / "run").mkdir()
    run = Trainer(recipe, four, four, validation_metrics(FACE68), tmp_path / "run")
    losses = losses_of(run)
    outcome = run.run()
    assert losses[-1] < losses[0] / 10
    assert outcome.best["nme"] < 4  # percent, of faces it has learned by heart


def test_resume_allows_another_length_only(tiny_recipe, faces, tmp_path):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.save()
    longer = changed(tiny_recipe, stages={"joint": 7.0}, workers=1)
    trainer(longer, faces, tmp_path / "run").resume()
    other = changed(tiny_recipe, loss={"coordinate": "l2"}, seed=3)
    assert differences(tiny_recipe.to_dict(), other.to_dict()) == {"loss.coordinate": ("l1", "l2"), "seed": (0, 3)}
    with pytest.raises(ValueError, match=r"loss\.coordinate, seed"):
        trainer(other, faces, tmp_path / "run").resume()


def test_resume_of_nothing(tiny_recipe, faces, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        trainer(tiny_recipe, faces, tmp_path / "run").resume()


def test_damaged_checkpoint(tiny_recipe, faces, tmp_path):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.save()
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        trainer(tiny_recipe, faces, tmp_path / "run").resume()


@pytest.mark.parametrize("part", ["optimizer", "state", "network"])
def test_checkpoint_without_a_part(tiny_recipe, faces, tmp_path, part):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.save()
    path = tmp_path / "run" / CHECKPOINT
    content = torch.load(path, weights_only=True)
    del content[part]
    torch.save(content, path)
    with pytest.raises(ValueError, match="damaged, or of another version"):
        trainer(tiny_recipe, faces, tmp_path / "run").resume()


def test_less_than_one_step(tiny_recipe, faces, tmp_path):
    run = trainer(changed(tiny_recipe, stages={"separate": 0.01, "joint": 0.01}), faces, tmp_path / "run")
    with pytest.raises(ValueError, match="shorter than one step"):
        run.run()


def test_a_failed_save_keeps_the_last_checkpoint(tiny_recipe, faces, tmp_path, monkeypatch):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.save()
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()

    def half(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        run.save()
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert [p.name for p in (tmp_path / "run").iterdir()] == [CHECKPOINT]


def test_a_loss_that_is_not_finite_stops(tiny_recipe, faces, tmp_path):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    with torch.no_grad():
        run.learner.network.voxel.heads[0].bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="learning_rate"):
        run.run()


def test_scheme_must_fit(tiny_recipe, faces, tmp_path):
    fewer = dataclasses.replace(faces, points_px=faces.points_px[:, :66], scheme=FACE66)
    with pytest.raises(ValueError, match=r"68 landmarks, the scheme face66 66: set network\.num_landmarks"):
        Trainer(tiny_recipe, fewer, fewer, {}, tmp_path)
    for_66 = dataclasses.replace(tiny_recipe, network=dataclasses.replace(tiny_recipe.network, num_landmarks=66))
    with pytest.raises(ValueError, match="trained on landmarks of face66, validated on face68"):
        Trainer(for_66, fewer, faces, {}, tmp_path)


def test_resume_refuses_other_faces(tiny_recipe, faces, tmp_path):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.save()
    moved = dataclasses.replace(faces, points_px=faces.points_px + 1)
    with pytest.raises(ValueError, match="other training faces"):
        trainer(tiny_recipe, moved, tmp_path / "run").resume()


def test_resume_from_an_older_checkpoint_drops_the_log_behind_it(tiny_recipe, faces, tmp_path):
    """As after a crash: the log goes on beyond the checkpoint, its last line cut short."""
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.state.step = 6
    run.save()
    log = tmp_path / "run" / LOG
    log.write_text('{"step": 3}\n{"step": 6}\n{"step": 9}\n{"step": 1')
    trainer(tiny_recipe, faces, tmp_path / "run").resume()
    assert log.read_text() == '{"step": 3}\n{"step": 6}\n'


def test_a_damaged_image_is_named_before_training(tiny_recipe, faces, tmp_path):
    bad = dataclasses.replace(faces, root=tmp_path)
    for name in faces.images:
        (tmp_path / name).write_bytes((faces.root / name).read_bytes())
    (tmp_path / "03.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"03\.png"):
        trainer(tiny_recipe, bad, tmp_path / "run").run()


def test_resume_in_another_precision_is_asked_for(tiny_recipe, faces, tmp_path, monkeypatch):
    """Where "auto" is another precision, as on another machine, going on would change the arithmetic unasked."""
    auto = changed(tiny_recipe, precision="auto")
    monkeypatch.setattr(loop, "precision", lambda name, *_: "32-true" if name == "auto" else name)
    trainer(auto, faces, tmp_path / "run").save()
    trainer(auto, faces, tmp_path / "run").resume()
    monkeypatch.setattr(loop, "precision", lambda name, *_: "bf16-mixed" if name == "auto" else name)
    with pytest.raises(ValueError, match=r"made in 32-true, .* is bf16-mixed on this machine: .* precision=32-true"):
        trainer(auto, faces, tmp_path / "run").resume()
    trainer(tiny_recipe, faces, tmp_path / "run").resume()
    trainer(changed(tiny_recipe, precision="bf16-mixed"), faces, tmp_path / "run").resume()


def test_resume_in_bfloat16_with_a_worker(tiny_recipe, faces, tmp_path):
    recipe = changed(tiny_recipe, precision="bf16-mixed", workers=1)
    whole = trainer(recipe, faces, tmp_path / "whole")
    expected = losses_of(whole)
    whole.run()
    first = trainer(recipe, faces, tmp_path / "parts")
    before = losses_of(first)
    interrupt_at(first, 4)
    assert first.run().steps == 4
    second = trainer(recipe, faces, tmp_path / "parts")
    after = losses_of(second)
    second.resume()
    second.run()
    assert before + after == expected


def test_starts_from_weights(tiny_recipe, faces, tmp_path, capsys):
    first = trainer(tiny_recipe, faces, tmp_path / "first").run()
    stages = {"separate": 0.0, "joint": 1.0}
    recipe = changed(tiny_recipe, pretrained=str(first.weights), stages=stages, optimizer={"learning_rate": 1e-9})
    second = trainer(recipe, faces, tmp_path / "second")
    outcome = second.run()
    assert "starting from the weights tiny" in capsys.readouterr().err
    assert outcome.best["nme"] == pytest.approx(first.best["nme"], rel=0.05)  # batch norms' statistics move
    kept = load_network(first.weights).state_dict()
    for name, value in second.learner.network.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(value, kept[name], rtol=0, atol=1e-6)
    told = read_header(outcome.weights).training["pretrained"]
    assert (told["name"], told["weights"]) == ("tiny", str(first.weights))
    assert told["sha256"] == hashlib.sha256(first.weights.read_bytes()).hexdigest()
    # A resumed run needs the weights no more, and still tells of them.
    first.weights.unlink()
    third = trainer(changed(recipe, stages={"joint": 3.0}), faces, tmp_path / "second")
    third.resume()
    assert read_header(third.run().weights).training["pretrained"] == told


def test_starts_from_weights_without_refinement(tiny_recipe, faces, tmp_path, capsys):
    """As those of before there was R: a new one, which moves nothing, is added to them."""
    plain = changed(tiny_recipe, network={"refinement": RefinementConfig()})
    first = trainer(plain, faces, tmp_path / "first").run()
    recipe = changed(tiny_recipe, pretrained=str(first.weights), stages={"separate": 0.0, "joint": 1.0})
    outcome = trainer(changed(recipe, optimizer={"learning_rate": 1e-9}), faces, tmp_path / "second").run()
    assert "network.refinement.patches [], and go on with [5, 3]" in capsys.readouterr().err
    assert outcome.best["nme"] == pytest.approx(first.best["nme"], rel=0.05)  # batch norms' statistics move
    kept = load_network(first.weights).state_dict()
    for name, value in load_network(outcome.weights).state_dict().items():
        if name in kept and not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(value, kept[name], rtol=0, atol=1e-6)
    # The other way round something would be lost.
    refined = trainer(tiny_recipe, faces, tmp_path / "third").run()
    with pytest.raises(ValueError, match=r"refinement\.patches \[5, 3\] \(here \[\]\)"):
        trainer(changed(plain, pretrained=str(refined.weights)), faces, tmp_path / "fourth").run()


def test_starts_from_weights_for_other_landmarks(tiny_recipe, faces, tmp_path, capsys):
    """98 made of the 68: all that does not depend on their number is kept, the rest begins anew, and both are told."""
    first = trainer(tiny_recipe, faces, tmp_path / "first").run()
    more = np.concatenate([faces.points_px, faces.points_px[:, :30] + np.float32([0, 2, 1])], axis=1)
    wflw = dataclasses.replace(faces, points_px=more, scheme=LandmarkScheme("made98", 98))
    network = dataclasses.replace(tiny_recipe.network, num_landmarks=98)
    recipe = changed(
        tiny_recipe, pretrained=str(first.weights), stages={"separate": 0.0, "joint": 1.0}, network=network
    )
    run = trainer(changed(recipe, optimizer={"learning_rate": 1e-9}), wflw, tmp_path / "second")
    outcome = run.run()
    told = capsys.readouterr().err
    assert "begins anew: coordinate.regressor.weight, coordinate.regressor.bias, refinement.local, " in told
    assert "network.num_landmarks 68, and go on with 98" in told
    kept, here = load_network(first.weights).state_dict(), load_network(outcome.weights).state_dict()
    same = [name for name, value in here.items() if value.shape == kept[name].shape and "running" not in name]
    assert {name.partition(".")[0] for name in same} == {"voxel", "coordinate", "refinement"}
    for name in same:
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(here[name], kept[name], rtol=0, atol=1e-6)
    assert read_header(outcome.weights).scheme.num_landmarks == 98


def test_what_is_frozen_for_stage_2_learns_in_stage_1(tiny_recipe, faces, tmp_path):
    run = trainer(changed(tiny_recipe, stages={"frozen": ("coordinate",)}), faces, tmp_path)
    step, seen = run.learner.step, []

    def noting(*arguments):
        seen.append({k: v.clone() for k, v in run.learner.network.coordinate.state_dict().items()})
        return step(*arguments)

    run.learner.step = noting
    run.run()
    moved = [any(not a[k].equal(b[k]) for k in a) for a, b in itertools.pairwise(seen)]
    assert moved == [True, True, True, False, False, False, False, False]
    direct = dataclasses.replace(tiny_recipe.network, method="direct")
    recipe = changed(tiny_recipe, network=direct, stages={"frozen": ("refinement",)})
    with pytest.raises(ValueError, match="frozen names refinement: direct has coordinate"):
        trainer(recipe, faces, tmp_path)


@pytest.mark.parametrize("frozen", [("voxel", "coordinate"), ("refinement",)])
def test_what_is_frozen_stays(tiny_recipe, faces, tmp_path, frozen):
    """Weights and batch norms' statistics alike, in the network and in its average; the rest learns."""
    first = trainer(tiny_recipe, faces, tmp_path / "first").run()
    kept = load_network(first.weights).state_dict()
    recipe = changed(tiny_recipe, pretrained=str(first.weights), frozen=frozen, stages={"separate": 0.0, "joint": 1.0})
    run = trainer(recipe, faces, tmp_path / "second")
    run.run()
    for network in (run.learner.network, run.learner.averaged_network):
        moved = {name.partition(".")[0] for name, value in network.state_dict().items() if not value.equal(kept[name])}
        assert moved == {"voxel", "coordinate", "refinement"} - set(frozen)


def test_weights_that_do_not_fit(tiny_recipe, faces, tmp_path):
    network = tiny_recipe.network
    wider = dataclasses.replace(network, voxel=dataclasses.replace(network.voxel, channels=12))
    made = trainer(changed(tiny_recipe, network=wider), faces, tmp_path / "first").run()
    run = trainer(changed(tiny_recipe, pretrained=str(made.weights)), faces, tmp_path / "run")
    message = r"network\.voxel\.channels 12 \(here 8\); \d+ tensors differ, the first is voxel\.stem"
    with pytest.raises(ValueError, match=message):
        run.run()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        trainer(changed(tiny_recipe, pretrained="nowhere"), faces, tmp_path / "run").run()


def test_validation_weights_are_not_trained_ones(tiny_recipe, faces, tmp_path):
    """Validation must see the averaged weights and leave training mode as it was."""
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.run()
    assert run.learner.network.training
    live, kept = run.learner.network.voxel.heads[0].weight, run.learner.averaged_network.voxel.heads[0].weight
    assert not torch.equal(live, kept)
    assert WEIGHTS in {p.name for p in (tmp_path / "run").iterdir()}


def test_recipe_of_a_checkpoint_is_readable(tiny_recipe, faces, tmp_path):
    run = trainer(tiny_recipe, faces, tmp_path / "run")
    run.save()
    content = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert Recipe.from_dict(content["recipe"]) == tiny_recipe


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc is told so on Linux only")
def test_freed_memory_is_kept():
    """Page faults of taking and freeing the same memory again and again, before and after."""
    code = """
import resource, numpy as np
from jvcr.training.processes import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
keep_freed_memory()
faults()
print(first, faults())
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    without, kept = map(int, done.stdout.split())
    assert kept < without / 10


def test_without_validation_the_last_weights_are_kept(tiny_recipe, faces, tmp_path):
    run = Trainer(tiny_recipe, faces.split("train"), None, {}, tmp_path)
    outcome = run.run()
    assert outcome.finished and outcome.best == {}
    kept, last = load_network(outcome.weights).state_dict(), run.learner.averaged_network.state_dict()
    for name, value in last.items():
        assert torch.equal(kept[name], value), name
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_run_ends_by_the_clock(tiny_recipe, faces, tmp_path):
    """It is validated and saved as at the end of its stages, and finished."""
    recipe = changed(tiny_recipe, stages={"separate": 0.0, "joint": 1e6, "minutes": 0.02}, validate_epochs=1e6)
    run = trainer(recipe, faces, tmp_path / "run")
    outcome = run.run()
    assert outcome.finished and 0 < outcome.steps < 1000 and outcome.seconds >= 1.2
    assert outcome.best["nme"] > 0 and outcome.weights.is_file()
    # A resumed run has no more time, or what is added to it.
    longer = changed(recipe, stages={"minutes": 0.03})
    again = trainer(longer, faces, tmp_path / "run")
    again.resume()
    assert again.state.step == outcome.steps and again.run().steps > outcome.steps


def test_a_run_cut_in_stage_1_keeps_its_weights(tiny_recipe, faces, tmp_path):
    run = trainer(changed(tiny_recipe, stages={"separate": 1e6, "joint": 1.0, "minutes": 0.01}), faces, tmp_path)
    outcome = run.run()
    assert outcome.finished and run.schedule.stage(outcome.steps) == "separate"
    assert outcome.best["nme"] > 0 and load_network(outcome.weights)


def test_the_rate_falls_by_the_clock():
    recipe = Recipe.from_dict(
        {
            "name": "x",
            "batch_size": 10,
            "stages": {"separate": 0, "joint": 100, "minutes": 10},
            "optimizer": {"learning_rate": 1.0, "schedule": "trapezoid", "decay_epochs": 2},
        }
    )
    schedule = Schedule(recipe, 100)
    assert schedule.expected_epochs(RunState()) == 100
    half = RunState(step=30, seconds=330.0, reading=30.0)  # 0.1 steps a second for 270 seconds more
    assert schedule.expected_epochs(half) == pytest.approx(5.7)
    assert schedule.learning_rate(half) == 1.0
    assert schedule.learning_rate(RunState(step=52, seconds=550.0, reading=30.0)) == pytest.approx(0.25)
    assert schedule.is_over(601.0) and not schedule.is_over(599.0)


def test_mixed_precision_leaves_labels_as_they_are():
    class Seen(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x):
            self.x, self.y = x, self.layer(x)
            return self.y.sum()

    fabric = Processes().fabric("bf16-mixed")
    seen = fabric.setup(Seen())
    labels = torch.tensor([[0.7012345, -0.3333333]])
    seen(labels)
    assert torch.equal(seen.module.x, labels)
    assert seen.module.y.dtype == torch.bfloat16


def events_of(folder):
    """What TensorBoard shows: name -> steps."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulator.EventAccumulator(str(folder))
    shown.Reload()
    return {name: [event.step for event in shown.Scalars(name)] for name in shown.Tags()["scalars"]}


def test_tensorboard_shows_what_the_log_has_and_nothing_twice(tiny_recipe, faces, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_STEPS", 1)

    def begin():
        tmp_path.joinpath("run").mkdir(exist_ok=True)
        how = {"tensorboard": True, "out": tmp_path / "run", "metrics": validation_metrics(faces.scheme)}
        return Trainer(tiny_recipe, faces.split("train"), faces.split("val"), **how)

    first = begin()
    step = first.learner.step

    def failing(batch, number, *how):
        if number == 4:
            raise OSError("the machine is gone")
        return step(batch, number, *how)

    first.learner.step = failing
    with pytest.raises(OSError, match="gone"):
        first.run()  # its checkpoint is that of the first line of the log
    second = begin()
    second.resume()
    second.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    shown = events_of(tmp_path / "run" / "tensorboard")
    for group in ("train", "val"):
        steps = [line["step"] for line in lines if group in line]
        names = next(line for line in lines if group in line)[group]
        assert steps and all(shown[f"{group}/{name}"] == steps for name in names)


def test_streamed_training_goes_on_as_if_never_stopped(tiny_recipe, faces, tmp_path):
    packed = pack(faces, tmp_path / "shards", faces_per_shard=3)

    def begin(out):
        out.mkdir(exist_ok=True)
        train, val = ShardedDataset.open(packed, "train"), read_shards(packed, split="val")
        return Trainer(changed(tiny_recipe, workers=1), train, val, validation_metrics(faces.scheme), out)

    whole = begin(tmp_path / "whole")
    expected = losses_of(whole)
    best = whole.run().best
    first = begin(tmp_path / "parts")
    before = losses_of(first)
    interrupt_at(first, 4)
    assert first.run().steps == 4
    second = begin(tmp_path / "parts")
    after = losses_of(second)
    second.resume()
    assert second.run().best == best
    assert before + after == expected
    other = pack(faces.select(np.arange(0, len(faces), 2)), tmp_path / "other")
    stranger = Trainer(
        changed(tiny_recipe, workers=1),
        ShardedDataset.open(other, "train"),
        None,
        validation_metrics(faces.scheme),
        tmp_path / "parts",
    )
    with pytest.raises(ValueError, match="other training faces"):
        stranger.resume()


def test_faces_of_shards_are_drawn_alike(tiny_recipe, faces, tmp_path):
    train = ShardedDataset.open(pack(faces, tmp_path / "shards"), "train")
    for wish in ({"rare_share": 0.5}, {"source_shares": {"a": 1.0}}):
        with pytest.raises(ValueError, match=r"drawn all alike.*source_shares"):
            Trainer(changed(tiny_recipe, data=wish), train, None, validation_metrics(faces.scheme), tmp_path)
