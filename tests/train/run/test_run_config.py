"""Configuration: flag over file over default, errors that name the key and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DataError, UsageError
from train.run.config.fields import RunConfig, class_strengths, flags, requested_splits
from train.run.config.files import read_choices, read_config, write_choices, write_config
from train.run.config.resolve import differences, left_open, resolve


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_command_line_over_file_over_default(tmp_path: Path) -> None:
    file = read_config(write(tmp_path / "a.toml", "epochs = 7\nlr = 1\nimg-size = 64\nsplit = 2\nscale = [0.5, 1]\n"))
    config = resolve(command_line={"epochs": 9}, file=file)
    assert (config.epochs, config.lr, config.img_size, config.split) == (9, 1.0, 64, "2")
    assert config.scale == (0.5, 1.0)
    assert config.batch_size == RunConfig().batch_size


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    config = resolve(command_line={"aug_class": ("walk=1.5", "run=0"), "compile": True, "lr": 3e-4}, file={})
    write_config(tmp_path / "c.toml", config)
    assert resolve(command_line={}, file=read_config(tmp_path / "c.toml")) == config


def test_choices_that_were_left_to_the_program(tmp_path: Path) -> None:
    given = {"plan": "auto", "sampling": "tsn", "depth": 2}
    keys = left_open(given)
    assert {"plan", "preset", "img_size"} <= set(keys) and not {"sampling", "depth"} & set(keys)
    config = resolve(command_line={**given, "plan": "a,b.csv", "img_size": 0}, file={})
    write_choices(tmp_path / "choices.csv", keys, config)
    made = {"plan": ("auto", "a,b.csv"), "preset": ("auto", "tiny")}
    assert made.items() <= read_choices(tmp_path / "choices.csv").items()
    assert "img_size" not in read_choices(tmp_path / "choices.csv")  # still open
    (tmp_path / "choices.csv").write_bytes(b"\xff\n")
    assert read_choices(tmp_path / "choices.csv") == read_choices(tmp_path / "absent.csv") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", "did you mean 'epochs'"),
        ("weight-decy = 0.1", "did you mean 'weight_decay'"),
        ("zzzzzz = 1", "--help"),
        ('epochs = "3"', "epochs is '3'; expected a whole number"),
        ("epochs = 1.5", "expected a whole number"),
        ("epochs = true", "expected a whole number"),
        ("compile = 1", "expected true or false"),
        ("epochs = 0", "at least 1"),
        ("lr = inf", "at least 0"),
        ("smoothing = 1.5", "from 0 to 0.99"),
        ('preset = "huge"', "one of auto, tiny, small, base"),
        ("scale = [1.0, 0.5]", "the first number is the smaller one"),
        ("scale = [0.5]", "expected a list of two numbers"),
        ('aug_class = ["walk"]', "CLASS=STRENGTH"),
        ('aug_class = ["walk=-1"]', "CLASS=STRENGTH"),
        ("[model]\ndepth = 2", "unknown key 'model'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        resolve(command_line={}, file=read_config(write(tmp_path / "a.toml", text)))


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration at"):
        read_config(tmp_path / "absent.toml")
    with pytest.raises(DataError, match="is no TOML file"):
        read_config(write(tmp_path / "bad.toml", "epochs ="))


def test_splits() -> None:
    assert requested_splits("1,2,3") == ("1", "2", "3")
    assert requested_splits("full") == ("full",)
    for wrong in ("4", "1,1", "", "1,"):
        with pytest.raises(UsageError, match="--split is"):
            requested_splits(wrong)


def test_class_strengths() -> None:
    assert class_strengths(RunConfig(aug_class=("walk=1.5", "run=0"))) == {"walk": 1.5, "run": 0.0}


def test_only_what_changes_the_result_is_a_difference() -> None:
    saved = RunConfig(device="cpu", workers=1, epochs=3)
    assert differences(saved, RunConfig(device="cuda", workers=8, epochs=3, checkpoint_every=1)) == []
    assert differences(saved, RunConfig(epochs=4)) == ["epochs: 3 -> 4"]


def test_every_flag_has_help() -> None:
    assert all(flag.help.endswith(".") for _, flag in flags().values())


def test_an_option_is_named_as_it_was_given() -> None:
    with pytest.raises(UsageError, match=r"^--val-fraction is 0\.9; it must be from 0 to 0\.5$"):
        resolve(command_line={"val_fraction": 0.9}, file={})
    with pytest.raises(UsageError, match=r"^val_fraction is 0\.9; "):
        resolve(command_line={}, file={"val_fraction": 0.9})
