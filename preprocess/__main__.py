"""Where hmdb-prep begins: from its first line on Ctrl-C is one line, also while the rest is being imported."""

from shared.terminal.startup import end_at_once


def main() -> None:
    """Entry point of the console script ``hmdb-prep``."""
    end_at_once()
    from preprocess import cli

    cli.main()


if __name__ == "__main__":
    main()
