"""The command line, as the installed script `heori` and as `python -m heori`."""

from heori_common.import_path import current_directory_last


def main() -> None:
    """Run a command."""
    current_directory_last()
    from heori.cli.app import app  # noqa: PLC0415 - nothing of the current directory comes first

    app(prog_name="heori")


if __name__ == "__main__":
    main()
