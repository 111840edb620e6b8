"""The command line, as the installed script `heori` and as `python -m heori`."""

import gc

from heori_common.descriptors import open_closed
from heori_common.import_path import current_directory_last


def main() -> None:
    """Run a command."""
    open_closed()
    current_directory_last()
    gc.disable()  # until all is imported: nothing of that is garbage, and looking takes long
    # Nothing of the current directory comes first.
    from heori.cli import streams  # noqa: PLC0415
    from heori.cli.start import run  # noqa: PLC0415

    streams.run(run)


if __name__ == "__main__":
    main()
