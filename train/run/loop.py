"""The training loop: epochs of steps, validation, checkpoints, and the reasons to stop."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from shared.terminal.console import counted, duration_text
from shared.terminal.console import progress as show_progress
from shared.terminal.interrupts import explained
from train.data.loader.batches import Batch, Turns, epoch_steps, training_batches
from train.data.loader.copies_ahead import with_copies_ahead
from train.data.loader.prefetch import Prefetcher
from train.data.samples import shard_numbers
from train.learn.inference import clip_answers, probabilities_of
from train.learn.lessons import send_lessons
from train.learn.step import check_weights, diverged, train_step
from train.run.folder import resume_text
from train.run.progress import (
    EpochRow,
    Progress,
    Timing,
    Validation,
    append_timing,
    epoch_row,
    validation_of,
    write_metrics,
)
from train.run.session import Session, save
from train.run.trackers import log_epoch


def train(session: Session, progress: Progress) -> Progress:
    """Train until the run is finished, out of time or interrupted (then KeyboardInterrupt, after a checkpoint)."""
    is_late = False
    while not progress.finished and not is_late:
        progress, is_late = _train_epoch(session, progress)
        if progress.step_in_epoch < session.steps_per_epoch:
            _measure_midway(session, progress)
        else:
            progress = _end_epoch(session, progress)
    if not progress.finished:
        minutes = session.config.max_minutes
        session.call.processes.say(f"stopped after {minutes:g} minutes (--max-minutes); continue with --resume")
    return progress


def _batches(session: Session, progress: Progress) -> Iterator[Batch]:
    """What this process reads of the rest of the current epoch."""
    config, processes, accumulation = session.config, session.learner.processes, session.learner.accumulation
    samples, turns = session.lessons.samples, _turns(session)
    steps = epoch_steps(
        len(samples),
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=progress.epoch,
        first=progress.step_in_epoch,
        turns=turns,
    )
    if turns is not None and session.reader.is_remote:
        steps = with_copies_ahead(steps, samples, session.lessons.table, session.reader, at_once=turns.at_once)
    return training_batches(
        session.reader,
        samples,
        steps,
        seed=config.seed,
        tsn=config.sampling == "tsn",
        num_parts=processes.count * accumulation,
        own_parts=range(processes.rank * accumulation, (processes.rank + 1) * accumulation),
    )


def _turns(session: Session) -> Turns | None:
    """How shards are read in turn (--shuffle-shards), if they are."""
    lessons, at_once = session.lessons, session.config.shuffle_shards
    if not at_once:
        return None
    return Turns(shard=shard_numbers(lessons.table)[lessons.samples.clip], at_once=at_once)


def _train_epoch(session: Session, progress: Progress) -> tuple[Progress, bool]:
    """The rest of the current epoch, or what time allows of it; True where the time is up."""
    config, learner, lessons = session.config, session.learner, session.lessons
    started, start, is_late = time.perf_counter(), progress, False
    clips_left = len(lessons.samples) - progress.step_in_epoch * config.batch_size
    title = f"epoch {progress.epoch + 1}/{config.epochs}"
    with (
        Prefetcher(
            send_lessons(_batches(session, progress), lessons, device=learner.processes.device), ahead=config.prefetch
        ) as stream,
        show_progress(
            title, clips_left, detail=lambda: live_text(progress, seconds_left=_seconds_left(session, progress))
        ) as advance,
    ):
        for lesson in stream:
            result = train_step(learner, lessons, lesson, step=progress.step)
            del lesson  # its memory serves the next one but one
            progress = progress.after_step(
                loss_sum=result.loss_sum, num_right=result.num_right, num_clips=result.num_clips
            )
            session.call.pace.epochs_done += 1 / session.steps_per_epoch
            if learner.processes.is_first:
                advance(result.num_clips)
            _log_step(session, progress, loss=result.loss_sum / result.num_clips)
            is_late = _between_steps(session, progress)
            if is_late:
                break
    _log_timing(session, start, progress, seconds=time.perf_counter() - started, waited=stream.wait_seconds)
    return progress, is_late


def _seconds_left(session: Session, progress: Progress) -> float:
    epochs_left = session.config.epochs - progress.epoch - progress.step_in_epoch / session.steps_per_epoch
    return session.call.pace.seconds_left(epochs_left)


def live_text(progress: Progress, *, seconds_left: float) -> str:
    """The time left of the whole run, which narrow terminals show too, and what is known in the middle of an epoch."""
    loss, right = progress.loss_sum / progress.num_clips, progress.num_right / progress.num_clips
    text = f"run: {duration_text(seconds_left)} left; loss {loss:.3f}, top-1 {right:.1%}"
    validated = [row.val_top1 for row in progress.history if row.val_top1 is not None]
    if validated:
        text += f", validation {validated[-1]:.1%}"
    return text


def _between_steps(session: Session, progress: Progress) -> bool:
    """Save where it is time to; True where the time is up. All processes come to the same answer."""
    is_interrupted, is_late = session.call.wishes()
    if is_interrupted:
        _save(session, progress, is_best=False)
        with explained(partial(_what_is_saved, session, progress)):
            raise KeyboardInterrupt
    every = session.config.checkpoint_every
    if progress.step_in_epoch < session.steps_per_epoch and (is_late or (every and progress.step % every == 0)):
        _save(session, progress, is_best=False)
    return is_late


def _what_is_saved(session: Session, progress: Progress) -> str:
    where = f"epoch {progress.epoch + 1}, step {progress.step_in_epoch} of {session.steps_per_epoch}"
    return f"{session.folder} is saved as it is now ({where}); {resume_text(session.config)}"


def _save(session: Session, progress: Progress, *, is_best: bool) -> None:
    """Write a checkpoint. Raises DataError, in all processes, where there is none worth it: the old one stays."""
    last = progress.step - 1
    check_weights(session.learner, epoch=last // session.steps_per_epoch, step=last % session.steps_per_epoch)
    save(session, progress, is_best=is_best)


def _validate(session: Session, progress: Progress) -> Validation | None:
    """Measure on the validation clips. Raises DataError where the answers are no numbers."""
    learner, lessons, table = session.learner, session.lessons, session.lessons.table
    if not len(session.validation):
        return None
    probabilities = clip_answers(
        probabilities_of(learner.average or learner.model, amp_dtype=learner.amp_dtype),
        session.reader,
        session.validation,
        width=lessons.model.num_classes,
        image_size=lessons.model.image_size,
        batch_size=session.config.batch_size,
        processes=learner.processes,
    )
    if not np.isfinite(probabilities).all():
        raise diverged("validation loss", math.nan, epoch=progress.epoch, step=progress.step_in_epoch - 1)
    clip_ids = [table.clip_id[clip] for clip in session.validation]
    return validation_of(clip_ids, table.label[session.validation], probabilities)


def _last_rate(session: Session, progress: Progress) -> float:
    """The learning rate of the step before."""
    return session.learner.schedule.rate(progress.step - 1)


def _end_epoch(session: Session, progress: Progress) -> Progress:
    """Validate, decide about best and the end, save, and say so."""
    validation, config = _validate(session, progress), session.config
    progress = progress.after_epoch(
        validation, learning_rate=_last_rate(session, progress), epochs=config.epochs, patience=config.patience
    )
    row = progress.history[-1]
    _record(session, progress, row)
    return progress


def _measure_midway(session: Session, progress: Progress) -> None:
    """Say what an unfinished epoch has reached. It is no epoch: nothing is noted, and it is never the best."""
    validation = _validate(session, progress)
    metrics = None if validation is None else validation.metrics
    row = dataclasses.replace(epoch_row(progress, metrics, learning_rate=_last_rate(session, progress)), best=0)
    done = f"{progress.step_in_epoch} of {counted(session.steps_per_epoch, 'step')}"
    session.call.processes.say(f"{epoch_line(row, epochs=session.config.epochs)} ({done}, not counted as an epoch)")


def _record(session: Session, progress: Progress, row: EpochRow) -> None:
    _save(session, progress, is_best=bool(row.best))
    if not session.learner.processes.is_first:
        return
    write_metrics(session.folder, progress.history)
    if session.tracker is not None:
        log_epoch(session.tracker, row)
    session.learner.processes.say(epoch_line(row, epochs=session.config.epochs))


def epoch_line(row: EpochRow, *, epochs: int) -> str:
    """An epoch in one line of text."""
    line = f"epoch {row.epoch}/{epochs}: loss {row.train_loss:.3f}, top-1 {100 * row.train_top1:.1f} %"
    if row.val_top1 is not None and row.val_loss is not None:
        line += (
            f"; validation ({counted(row.val_clips, 'clip')}): loss {row.val_loss:.3f}, top-1 "
            f"{100 * row.val_top1:.1f} %"
        )
        line += ", best so far" if row.best else ""
    return line


def _log_step(session: Session, progress: Progress, *, loss: float) -> None:
    if session.tracker is None or progress.step % session.config.log_every:
        return
    rate = session.learner.schedule.rate(progress.step - 1)
    session.tracker.log({"step/loss": loss, "step/learning_rate": rate}, step=progress.step)


def _log_timing(session: Session, start: Progress, end: Progress, *, seconds: float, waited: float) -> None:
    if not session.learner.processes.is_first or end.step == start.step:
        return
    timing = Timing(
        epoch=end.epoch + 1,
        steps=end.step - start.step,
        seconds=seconds,
        clips_per_second=(end.num_clips - start.num_clips) / seconds,
        data_wait_share=min(1.0, waited / seconds),
        processes=session.learner.processes.count,
    )
    append_timing(session.folder, timing)
    if session.tracker is not None:
        values = {f"epoch/{key}": getattr(timing, key) for key in ("clips_per_second", "data_wait_share")}
        session.tracker.log(values, step=end.step, epoch=timing.epoch)
