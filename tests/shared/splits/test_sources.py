"""Sources that file names say: HMDB51, UCF101, Kinetics, numbers, phones, names that hold the class, patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.classes import HMDB51_CLASSES
from shared.errors import UsageError
from shared.splits.sources import matches, parse_name

words = st.text(st.sampled_from("abcXYZ019_-!()#+ é"), min_size=1, max_size=20)
classes = st.one_of(st.sampled_from(HMDB51_CLASSES), words)
tags = st.builds(
    "{}_{}_np{}_{}_{}_{}".format,
    st.sampled_from("hufl"),
    st.sampled_from(["cm", "nm"]),
    st.integers(0, 10),
    st.sampled_from(["fr", "ba", "le", "ri"]),
    st.sampled_from(["goo", "med", "bad"]),
    st.integers(0, 200),
)


@given(source=words, class_name=st.sampled_from(HMDB51_CLASSES), tag=tags)
def test_a_name_of_hmdb51_gives_source_and_tags(source: str, class_name: str, tag: str) -> None:
    found = parse_name(f"{source}_{class_name}_{tag}", class_name=class_name)
    assert found.source == source
    people = found.num_people
    assert tag.startswith(f"{found.body}_{found.camera_motion}_np{people}_{found.viewpoint}_{found.quality}_")


@given(source=words, class_name=classes, tag=tags)
def test_the_class_may_stand_in_the_source_too(source: str, class_name: str, tag: str) -> None:
    stem = f"{source}_{class_name}_{source}_{class_name}_{tag}"
    assert parse_name(stem, class_name=class_name).source.startswith(f"{source}_{class_name}_")


RESTS = ("_x", " (1)", ".part", "_flip", "-copy", " copy", " - Copy (2)", "_f2")


@given(source=words, class_name=classes, tag=tags, rest=st.sampled_from(RESTS))
def test_copies_and_derived_files_have_the_source_of_the_original(
    source: str, class_name: str, tag: str, rest: str
) -> None:
    for stem in (f"{source}_{class_name}_{tag}", f"v_{source}_g01_c02"):
        original = parse_name(stem, class_name=class_name)
        assert original.source != stem and parse_name(stem + rest, class_name=class_name) == original


@given(source=words, class_name=classes, tag=tags)
def test_a_name_that_fits_the_scheme_in_part_is_its_own_source(source: str, class_name: str, tag: str) -> None:
    for stem in (f"{source}_{class_name}", f"{class_name}_{tag}"):
        found = parse_name(stem, class_name=class_name)
        assert (found.source, found.body) == (stem, "")


def test_the_folder_may_bear_another_name_than_the_class() -> None:
    stem = "A_draw_sword_f_nm_np1_fr_goo_0"
    assert parse_name(stem, class_name="draw_sword").source == "A"
    assert parse_name(stem, class_name="Draw Sword").source == "A"
    assert parse_name("A_mine_f_nm_np1_fr_goo_0", class_name="mine").source == "A"
    assert parse_name("A_mine_f_nm_np1_fr_goo_0", class_name="other").source == "A_mine_f_nm_np1_fr_goo_0"


@given(action=st.from_regex(r"[A-Z][A-Za-z]{1,15}", fullmatch=True), group=st.integers(1, 25), clip=st.integers(1, 9))
def test_a_name_of_ucf101_gives_its_group(action: str, group: int, clip: int) -> None:
    found = parse_name(f"v_{action}_g{group:02d}_c{clip:02d}", class_name=action)
    assert found.source == f"v_{action}_g{group:02d}"
    other = parse_name(f"v_{action}_g{group + 1:02d}_c{clip:02d}", class_name=action)
    assert other.source != found.source


kinetics = st.builds(
    "{}_{:06d}_{:06d}".format,
    st.from_regex(r"[A-Za-z0-9_-]{11}", fullmatch=True),
    st.integers(0, 999),
    st.integers(0, 999),
)
phones = st.builds(
    "{}_{}_{:06d}".format,
    st.sampled_from(["VID", "PXL", "MVI"]),
    st.integers(20100101, 20301231),
    st.integers(0, 235959),
)
numbers = st.from_regex(r"[0-9]{1,12}", fullmatch=True)
with_class = st.builds("{}_{}".format, st.sampled_from(HMDB51_CLASSES), st.integers(0, 99))


@given(stem=st.one_of(kinetics, phones, numbers, with_class), class_name=classes)
def test_other_names_are_their_own_source(stem: str, class_name: str) -> None:
    found = parse_name(stem, class_name=class_name)
    assert (found.source, found.body, found.quality) == (stem, "", "")


@given(person=st.integers(0, 99), take=st.integers(0, 99), class_name=classes)
def test_a_pattern_says_the_source(person: int, take: int, class_name: str) -> None:
    stem = f"person{person}_take{take}"
    assert parse_name(stem, class_name=class_name, source_pattern=r"(person\d+)_").source == f"person{person}"
    assert parse_name(stem, class_name=class_name, source_pattern=r"(dog\d+)_").source == stem
    assert not matches(r"(dog\d+)_", stem, class_name=class_name)
    assert not matches(r"person\d+()", stem, class_name=class_name)  # an empty source is none
    assert not matches(r"(x)?person", stem, class_name=class_name)
    by_class = parse_name(stem, class_name="a", source_pattern=r"(.*/person\d+)_").source
    assert by_class == f"a/person{person}"


def test_tags_stay_with_a_pattern() -> None:
    found = parse_name("A_walk_f_nm_np1_fr_goo_0", class_name="walk", source_pattern="(np[0-9])")
    assert (found.source, found.body, found.viewpoint) == ("np1", "f", "fr")


@pytest.mark.parametrize(("pattern", "message"), [(r"person\d+", "no group"), ("(", "no regular expression")])
def test_a_pattern_that_cannot_serve_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_name("x", class_name="a", source_pattern=pattern)
