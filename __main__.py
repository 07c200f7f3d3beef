"""The `fdet` command, also `python -m fdet`."""

from .pipeline.machines.interrupt import ended_by_interrupt


def main() -> None:
    """Run the command line; Ctrl-C ends it from here on."""
    with ended_by_interrupt():
        # Loading it takes a moment, in which Ctrl-C is heard already.
        from .pipeline.cli import main as run

        run()


if __name__ == "__main__":
    main()
