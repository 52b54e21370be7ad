"""Where lsvit-train begins: from its first line on Ctrl-C is one line, also while the rest is being imported."""

from shared.terminal.startup import end_at_once, let_macs_fall_back


def main() -> None:
    """Entry point of the console script ``lsvit-train``."""
    end_at_once()
    let_macs_fall_back()
    from train import cli

    cli.main()


if __name__ == "__main__":
    main()
