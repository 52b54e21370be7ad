"""What stands out in the results of a split, in sentences. Pure."""

from __future__ import annotations

from shared.terminal.console import counted
from train.evaluate.groups import FEATURE_NAMES, FEATURES, NUM_QUARTERS, QuarterResult, TagResult
from train.evaluate.intervals import Interval
from train.evaluate.results import SplitResult

_HARDEST = 3
_CONFIDENCE_GAP = 0.03  # between mean confidence and accuracy, from which a model is called too sure or too modest
_ONE_ANSWER = 0.9  # of all answers, from which a model nearly always names one class
_SMALLEST_GROUP = 10  # clips; of fewer nothing is said


def findings(result: SplitResult) -> list[str]:
    """Sentences about answers that say little, hard classes, the worst confusion, features and tags, and confidence."""
    return [
        *_one_answer(result),
        *_no_better_than_the_largest(result),
        *_hardest_classes(result),
        *_worst_pair(result),
        *_features(result),
        *_sources(result),
        *_confidence(result),
    ]


def _one_answer(result: SplitResult) -> list[str]:
    """Where nearly all clips are taken for one class, and it is not that nearly all are of it."""
    total = result.metrics.num_clips
    named = max(result.classes, key=lambda each: each.num_predicted)
    if total < _SMALLEST_GROUP or named.num_predicted < _ONE_ANSWER * total or named.num_clips >= _ONE_ANSWER * total:
        return []
    of_all = f"{named.num_predicted} of {counted(total, 'clip')} are taken for {named.class_name}"
    return [f"{of_all}: the model nearly always names that one class."]


def _no_better_than_the_largest(result: SplitResult) -> list[str]:
    """Where a model that names the class of most test clips every time would be right as often."""
    total = result.metrics.num_clips
    largest = max(result.classes, key=lambda each: each.num_clips)
    share = largest.num_clips / total
    if total < _SMALLEST_GROUP or largest.num_clips == total or result.metrics.top1 > share:
        return []
    return [
        f"Naming {largest.class_name}, the largest class, for every clip would be right for {_percent(share)}, and the "
        f"model is right for {_percent(result.metrics.top1)}: it is no better than that."
    ]


def _hardest_classes(result: SplitResult) -> list[str]:
    tested = [each for each in result.classes if each.num_clips]
    ordered = sorted(tested, key=lambda each: (each.recall, -each.num_clips))
    hard = [each for each in ordered[:_HARDEST] if each.recall < result.metrics.top1]
    if not hard:
        return []
    texts = [f"{each.class_name} ({_percent(each.recall)} of {counted(each.num_clips, 'clip')})" for each in hard]
    return [f"Recognised least often: {', '.join(texts)}."]


def _worst_pair(result: SplitResult) -> list[str]:
    if not result.confused:
        return ["No clip was taken for another class."]
    pair = result.confused[0]
    total = next(each.num_clips for each in result.classes if each.class_name == pair.true_class)
    of_class = f"{len(pair.clip_ids)} of {counted(total, 'clip')} of {pair.true_class}"
    verb = "was" if len(pair.clip_ids) == 1 else "were"
    return [f"{of_class} {verb} taken for {pair.predicted_class}."]


def _features(result: SplitResult) -> list[str]:
    """Each feature whose outer quarters differ by more than both intervals allow, then the others in one sentence."""
    clear, unclear = [], []
    for feature, (smallest, largest) in FEATURES.items():
        quarters = {each.quarter: each for each in result.quarters if each.feature == feature}
        low, high = quarters.get(1), quarters.get(NUM_QUARTERS)
        if low is None or high is None or min(low.num_clips, high.num_clips) < _SMALLEST_GROUP:
            continue
        differ = _differ(low, high)
        if differ is None:
            continue
        if differ:
            clear.append(
                f"Of the {smallest} quarter of the clips {_percent(low.top1)} are right, of the {largest} "
                f"{_percent(high.top1)}; the intervals do not overlap."
            )
        else:
            unclear.append(FEATURE_NAMES.get(feature, feature))
    if unclear:
        clear.append(f"No clear difference between the lowest and the highest quarter of {', '.join(unclear)}.")
    return clear


def _sources(result: SplitResult) -> list[str]:
    groups = {each.value: each for each in result.tags if each.tag == "source"}
    seen, new = groups.get("seen"), groups.get("new")
    if seen is None or new is None:
        return []
    clips = counted(seen.num_clips, "clip")
    text = (
        f"{clips} come from a source that also gives training clips: {_percent(seen.top1)} of them are right, of the "
        f"others {_percent(new.top1)}"
    )
    return [f"{text}; the intervals do not overlap." if _differ(seen, new) else f"{text}."]


def _confidence(result: SplitResult) -> list[str]:
    confidence = float(result.probabilities.max(axis=1).mean())
    gap = confidence - result.metrics.top1
    if abs(gap) < _CONFIDENCE_GAP:
        return []
    remedy = " The option --calibrated adjusts that." if result.calibration is None else ""
    return [
        f"Its mean confidence is {_percent(confidence)} and {_percent(result.metrics.top1)} are right: it is "
        f"{'too sure' if gap > 0 else 'too modest'}.{remedy}"
    ]


def _differ(one: QuarterResult | TagResult, other: QuarterResult | TagResult) -> bool | None:
    """Whether the intervals do not overlap; None where one is not known."""
    first, second = _interval_of(one), _interval_of(other)
    if first is None or second is None:
        return None
    return first.high < second.low or second.high < first.low


def _interval_of(group: QuarterResult | TagResult) -> Interval | None:
    """The interval of a group; of clips that are all right, or all wrong, every draw of the bootstrap says the same."""
    if group.interval is None and group.top1 in (0.0, 1.0):
        return Interval(low=group.top1, high=group.top1)
    return group.interval


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
