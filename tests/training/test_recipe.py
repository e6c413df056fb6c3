"""Recipes: the shipped ones parse, wrong ones say what is wrong."""

from pathlib import Path

import pytest
import torch

from jvcr.model import COMPACT, PAPER
from jvcr.training.optim import learning_rate, make_optimizer
from jvcr.training.recipe import OptimizerRecipe, Recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
RECIPES = [path for path in RECIPES if path.stem != "compare"]  # which is not one


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_parse(path):
    recipe = Recipe.load(path)
    assert recipe.name == path.stem
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_there_are_recipes():
    assert {"authors-code", "compact", "paper"} <= {p.stem for p in RECIPES}


def test_paper_recipe_is_the_papers():
    recipe = Recipe.load(next(p for p in RECIPES if p.stem == "paper"))
    assert recipe.network == PAPER
    assert (recipe.stages.separate, recipe.stages.joint) == (15, 10)
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("rmsprop", 2.5e-4)
    assert (recipe.optimizer.schedule, recipe.optimizer.step_epochs) == ("step", 10)
    assert (recipe.loss.voxel, recipe.loss.coordinate) == ("mean", "l2")


def test_the_recipe_of_the_authors_code():
    recipe = Recipe.load(next(p for p in RECIPES if p.stem == "authors-code"))
    assert (recipe.scheme, recipe.network.num_landmarks) == ("face71", 71)
    assert (recipe.network.crop, recipe.network.stretch, recipe.network.voxel.image_mean) == ("width", True, 0.0)
    assert (recipe.stages.separate, recipe.stages.joint, recipe.optimizer.name) == (15, 15, "adam")
    rates = [learning_rate(recipe.optimizer, epoch, 30.0) for epoch in (0.0, 9.99, 10.0, 15.0, 29.9)]
    assert rates == pytest.approx([1e-3, 1e-3, 2.5e-5, 2.5e-5, 2.5e-5])
    # L_coord + 0.1 L_vox, coordinates 0 to 1 for 0 to 255 of 256 pixels; here -1 to 1 for edge to edge.
    assert recipe.loss.coordinate_weight * 0.1 / (256 / 510) ** 2 == pytest.approx(1, rel=1e-3)


def test_the_optimisers_and_their_decay():
    network = torch.nn.Linear(3, 2)
    recipe = OptimizerRecipe(name="adam", learning_rate=0.1, weight_decay=0.01)
    optimizer = make_optimizer(network, recipe)
    assert type(optimizer) is torch.optim.Adam
    assert type(make_optimizer(network, OptimizerRecipe(name="adamw"))) is torch.optim.AdamW
    assert type(make_optimizer(network, OptimizerRecipe())) is torch.optim.RMSprop
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]


def test_defaults_keep_to_the_paper():
    recipe = Recipe.from_dict({"name": "x"})
    assert recipe.network == PAPER and recipe.optimizer.name == "rmsprop" and recipe.stages.separate == 15


def test_network_by_preset_and_difference():
    recipe = Recipe.from_dict({"name": "x", "network": {"preset": "compact", "voxel": {"channels": 40}}})
    assert recipe.network.voxel.channels == 40
    assert recipe.network.coordinate == COMPACT.coordinate
    recipe = Recipe.from_dict({"name": "x", "network": {"preset": "compact", "refinement": {"patches": []}}})
    assert recipe.network.refinement.patches == () and recipe.network.refinement.features == 256


def test_changes(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\nnetwork = "compact"\n')
    recipe = Recipe.load(path, ("optimizer.learning_rate=1e-3", "loss.coordinate=l1", "network.voxel.channels=32"))
    assert recipe.optimizer.learning_rate == 1e-3
    assert recipe.loss.coordinate == "l1"
    assert recipe.network.voxel.channels == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not a TOML file"),
        ("", "name"),
        ('name = "x"\nepochs = 3', "epochs"),
        ('name = "x"\n[optimizer]\nlearnin_rate = 3', "optimizer.learnin_rate"),
        ('name = "x"\n[optimizer]\nname = "sgd"', "adamw"),
        ('name = "x"\nbatch_size = 0', "batch_size"),
        ('name = "x"\nbatch_size = "many"', "batch_size"),
        ('name = "x"\nnetwork = "huge"', "no preset 'huge'"),
        ('name = "x"\n[augmentation]\nflip = 2', "flip"),
        ('name = "x"\n[augmentation]\nrotate_deg = nan', r"augmentation\.rotate_deg"),
        ('name = "x"\n[stages]\njoint = inf', r"stages\.joint"),
        ('name = "x"\n[optimizer]\nlearning_rate = nan', r"optimizer\.learning_rate"),
        ('name = "x"\n[optimizer]\nema_decay = 5.0', "below 1"),
        ('name = "x"\n[data]\nrare_share = 1', r"data\.rare_share is below 1"),
        ('name = "x"\n[loss]\naperture_balance = 1.5', r"loss\.aperture_balance is at most 1"),
        ('name = "x"\n[network]\nrefinement = { patches = [4] }', "odd number"),
        ('name = "x"\nfrozen = ["voxel"]', r"frozen \(voxel\) needs weights to begin with: give pretrained"),
        ('name = "x"\nfrozen = ["hourglass"]\npretrained = "compact"', "frozen"),
        ('name = "x"\nfrozen = ["coordinate", "voxel"]\npretrained = "compact"', "nothing is left to train"),
        ('name = "x"\nworkers = -1', "workers"),
        ('name = "x"\nprecision = "foo"', "bf16-mixed"),
        ('name = "x"\nsync_batch_norm = "maybe"', "sync_batch_norm"),
        ('name = "x"\npretrained = 5', "pretrained"),
        # Keys of older recipes.
        (
            'name = "x"\nstart = "compact"\n[optimizer]\nclip = 5',
            "optimizer.clip is .*max_grad_norm now; start is pretrained now",
        ),
        ('name = "x"\n[network]\nrefinement = { windows = [5] }', r"windows is network\.refinement\.patches now"),
        ('name = "x"\n[augmentation]\ncolour_offset = -0.1', r"augmentation\.colour_offset"),
        ('name = "x"\n[loss]\ncentre = "near"', r"loss\.centre"),
        ('name = "x"\n[data]\nhold_out = "IBUG"', r"data\.hold_out"),
        ('name = "x"\nnetwork = 5', "network: a preset"),
        ('name = "x"\n[network]\nvoxel = 5', r"network\.voxel: a table"),
        ('name = "x"\n[network]\nvoxel = { channels = 0 }', "channels"),
        ('name = "x"\n[stages]\nseparate = 0\njoint = 0', "nothing to train"),
    ],
)
def test_refuses(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Recipe.load(path)


def test_no_such_recipe(tmp_path):
    with pytest.raises(FileNotFoundError):
        Recipe.load(tmp_path / "none.toml")


def test_step_schedule_is_the_papers():
    recipe = OptimizerRecipe()
    rates = [learning_rate(recipe, epoch, 25.0) for epoch in (0.0, 9.99, 10.0, 19.9, 20.0, 24.0)]
    assert rates == pytest.approx([2.5e-4, 2.5e-4, 2.5e-5, 2.5e-5, 2.5e-6, 2.5e-6])


def test_trapezoid_schedule():
    recipe = OptimizerRecipe(learning_rate=1.0, schedule="trapezoid", warmup_epochs=2.0, decay_epochs=4.0)
    assert [learning_rate(recipe, e, 10.0) for e in (0.0, 1.0, 2.0, 6.0, 8.0, 10.0)] == pytest.approx(
        [0, 0.5, 1, 1, 0.5, 0]
    )
