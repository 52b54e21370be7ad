"""Class names and tags."""

from __future__ import annotations

from shared.classes import HMDB51_CLASSES, HMDB51_NUM_VIDEOS
from shared.splits.parts import official_splits
from shared.splits.sources import parse_name


def test_all_official_names_parse() -> None:
    clip_ids = list(official_splits())
    assert len(clip_ids) == HMDB51_NUM_VIDEOS
    tags = [parse_name(clip_id.partition("/")[2], class_name=clip_id.partition("/")[0]) for clip_id in clip_ids]
    assert all(tag.body in set("hufl") and tag.quality in {"goo", "med", "bad"} for tag in tags)
    assert all(0 <= int(tag.num_people) <= 10 for tag in tags)
    assert {tag.viewpoint for tag in tags} == {"fr", "ba", "le", "ri"}
    assert {tag.camera_motion for tag in tags} == {"cm", "nm"}
    assert len({tag.source for tag in tags}) == 1407
    assert sorted({clip_id.partition("/")[0] for clip_id in clip_ids}) == list(HMDB51_CLASSES)


def test_the_class_is_taken_from_the_folder() -> None:
    name = "Some_sword_fight_sword_exercise_f_cm_np2_ri_bad_14"
    assert parse_name(name, class_name="sword_exercise").source == "Some_sword_fight"
    tags = parse_name(name, class_name="sword")
    assert tags.source == "Some_sword_fight"
    assert tags.quality == "bad"  # the longest class of HMDB51 that fits, not that of the folder
    assert parse_name("Drink_1_13", class_name="drink").source == "Drink_1_13"
    assert parse_name("a_walk_b_walk_f_nm_np1_fr_goo_0", class_name="walk").source == "a_walk_b"
