"""Work on the shards of a data set that is divided among independent tasks, by the shards' numbers."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Task:
    """One of ``count`` tasks; the shards whose number leaves ``index`` when divided by ``count`` are its own."""

    index: int = 0
    count: int = 1

    def owns(self, number: int) -> bool:
        """Whether the shard of this number is this task's."""
        return number % self.count == self.index

    @property
    def is_first(self) -> bool:
        return self.index == 0


ALL = Task()


def make_task(*, num_tasks: int, task_id: int) -> Task:
    """The task of ``--num-tasks`` and ``--task-id``. Raises UsageError where there is no such task."""
    if num_tasks < 1 or not 0 <= task_id < num_tasks:
        raise UsageError(f"--task-id is {task_id} with --num-tasks {num_tasks}; it must lie in 0..{num_tasks - 1}")
    return Task(index=task_id, count=num_tasks)
