"""Renews the pictures of the notes, docs/notes/NAME.png, by what this machine shows just now.

python docs/figures.py [--quick] [NOTE]...    all of them, if none is named
"""

import io
import platform
import sys
import time
from pathlib import Path

from PIL import Image

from heori.cli import runs
from heori.lab.notes.drawing import draw
from heori.lab.notes.measuring import note_of
from heori.lab.notes.running import NOTES, Measured, NoteOptions, run_notes
from heori_common.platform import usable_cores

FOLDER = Path(__file__).parent / "notes"
DPI, COLOURS = 100, 64  # for pictures of 60 kB at most


def main() -> None:
    """Measure, and draw."""
    quick = "--quick" in sys.argv
    names = [word for word in sys.argv[1:] if word != "--quick"] or list(NOTES)
    options = NoteOptions(seed=1, quick=quick, out=None, json=False)
    for measured in runs.run(lambda interrupt: run_notes(names, options, interrupt)):
        picture = FOLDER / f"{measured.name}.png"
        figure = draw(note_of(measured.name).findings(measured.figures))
        figure.supxlabel(about(measured, quick=quick), fontsize=8, color="#777777")
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=DPI)
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(picture, optimize=True)
        print(f"{picture.name}: {picture.stat().st_size / 1000:.0f} kB")


def about(measured: Measured, *, quick: bool) -> str:
    """Which run it was, and on which machine."""
    return (
        f"heori lab notes {measured.name} --seed 1{' --quick' * quick}: "
        f"{platform.python_implementation()} {platform.python_version()} on "
        f"{platform.system()}, {usable_cores():g} cores, {time.strftime('%Y-%m-%d')}; "
        f"other guests had {measured.stolen:.0%} of them"
    )


if __name__ == "__main__":
    main()
