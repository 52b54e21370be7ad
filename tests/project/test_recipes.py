"""Each recipe is read by the reader of its command, has no key without an effect there, and is named in the README."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from shared.errors import UsageError
from train.probe.config import ProbeOptions, probe_config
from train.run.config.fields import RunConfig
from train.run.config.files import read_config
from train.run.config.resolve import resolve

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))


def read(recipe: Path, *, is_probe: bool) -> RunConfig:
    if is_probe:  # refuses what `run` has and a probe has not
        probe_config(ProbeOptions(values={}, config_file=recipe, seeds=1, resume=False))
    return resolve(command_line={}, file=read_config(recipe))


def is_for_probe(recipe: Path) -> bool:
    return recipe.stem.endswith("-probe")


def test_there_are_recipes() -> None:
    names = {"demo", "moving", "hmdb51", "hmdb51-small", "hmdb51-motion", "hmdb51-probe"}
    assert {recipe.stem for recipe in RECIPES} >= names


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_read_by_their_command(recipe: Path) -> None:
    config = read(recipe, is_probe=is_for_probe(recipe))
    assert config.name and config.img_size > 0
    for key, value in tomllib.loads(recipe.read_text()).items():
        read_value = getattr(config, key)
        assert (list(read_value) if isinstance(value, list) else read_value) == value, key


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_an_unknown_key_in_a_recipe_is_refused(recipe: Path, tmp_path: Path) -> None:
    changed = tmp_path / recipe.name
    changed.write_text(f"{recipe.read_text()}\nepocs = 3\n")
    with pytest.raises(UsageError, match="epocs"):
        read(changed, is_probe=is_for_probe(recipe))


def test_a_probe_refuses_what_only_run_has(tmp_path: Path) -> None:
    changed = tmp_path / "probe.toml"
    changed.write_text(f"{(ROOT / 'recipes' / 'hmdb51-probe.toml').read_text()}\nlayer_decay = 0.75\n")
    with pytest.raises(UsageError, match="layer_decay"):
        read(changed, is_probe=True)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_frozen_recipes_set_nothing_for_the_backbone(recipe: Path) -> None:
    values = tomllib.loads(recipe.read_text())
    if values.get("train", "all") != "all":
        assert not {"drop_path", "layer_decay"} & values.keys()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_readme_names_every_recipe(recipe: Path) -> None:
    assert re.search(rf"`{recipe.stem}`", (ROOT / "README.md").read_text())
