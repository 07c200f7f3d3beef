"""The `fdet` command, which is also `python -m fdet`."""

from .pipeline.machines.interrupt import ended_by_interrupt


def main() -> None:
    """Run the command line; from here on Ctrl-C ends it."""
    with ended_by_interrupt():
        # Loading the command line takes a moment, in which Ctrl-C already works.
        from .pipeline.cli import main as run
        from .pipeline.machines.launching import end_with_launcher

        end_with_launcher()
        run()


if __name__ == "__main__":
    main()
