"""A static page of all results in a folder of bundles: the page of `croco-bench table --format html`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from croco_bench import report, tables
from croco_bench.errors import RecordError
from croco_bench.files import atomic_output
from croco_bench.sharing.archive import unpack


def leaderboard(folder: Path, out: Path) -> tuple[int, list[str]]:
    """Writes the page of the bundles (`*.zip`) in a folder.

    Returns:
        The number of bundles on it, and a sentence for each that was left out because it isn't whole.

    Raises:
        RecordError: no bundle in the folder can be read, or the page can't be written.
    """
    complaints: list[str] = []
    with tempfile.TemporaryDirectory(prefix="croco-bench-page-") as name:
        shown = []
        for index, bundle in enumerate(sorted(folder.glob("*.zip"))):
            target = Path(name) / f"{index:05d}"
            try:
                unpack(bundle, target)
            except RecordError as error:
                complaints.append(str(error))
            else:
                shown.append(target / "results")
        if not shown:
            raise RecordError(
                complaints[0] if complaints else f"there is no bundle in {folder}",
                "croco-bench bundle --out FILE.zip writes one",
            )
        text = tables.make(shown, format=report.page)
    with atomic_output(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return len(shown), complaints
