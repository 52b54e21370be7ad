"""The two console scripts. They begin here, since no file of a user's is called ``hmdb51_lsvit``."""

from __future__ import annotations

from hmdb51_lsvit.names import check_names


def hmdb_prep() -> None:
    """Entry point of ``hmdb-prep``."""
    check_names("shared", "preprocess")
    from preprocess.__main__ import main

    main()


def lsvit_train() -> None:
    """Entry point of ``lsvit-train``."""
    check_names("shared", "train")
    from train.__main__ import main

    main()
