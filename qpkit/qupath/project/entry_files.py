"""The data folder of one entry, and the safe replacement of what is in it.

No QuPath version locks anything: the only protection against a QuPath that runs at the same time is to compare
modification time and size of the files with what they were when they were read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qpkit.errors import ProjectError
from qpkit.files import one_at_a_time, replace_file

BACKUP: Final = "data.qpdata.qpkit-backup"
"""The data file as it was before qpkit first wrote to it. Kept for good: later writes do not replace it.

(QuPath deletes its own data.qpdata.bkp at the next save, so that name is of no use.)"""


@dataclass(frozen=True, slots=True)
class Stamp:
    """State of a file: modification time in ns and size; both -1 if there is none."""

    mtime_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Look at a file."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return cls(-1, -1)
        return cls(stat.st_mtime_ns, stat.st_size)


@dataclass(slots=True)
class EntryFiles:
    """Paths of an entry's files, with the state in which they were last read.

    Args:
        folder: data/<id>.
        project: The .qpproj file.
        project_stamp: Its state when the project was opened.
        data_stamp: State of data.qpdata when it was last read; None if it was not.
    """

    folder: Path
    project: Path
    project_stamp: Stamp
    data_stamp: Stamp | None = field(default=None)

    @property
    def data(self) -> Path:
        """The objects."""
        return self.folder / "data.qpdata"

    @property
    def summary(self) -> Path:
        """Counts, for people."""
        return self.folder / "summary.json"

    @property
    def thumbnail(self) -> Path:
        """A small picture, JPEG; may be missing."""
        return self.folder / "thumbnail.jpg"

    @property
    def server(self) -> Path:
        """The image server, for people who have to repair a project; QuPath never reads it."""
        return self.folder / "server.json"

    @property
    def backup(self) -> Path:
        """The data file as it was before qpkit first wrote to it."""
        return self.folder / BACKUP

    def read(self) -> bytes:
        """Read the data file and note its state."""
        # Before the reading: what somebody writes meanwhile does not pass for what was read.
        stamp = Stamp.of(self.data)
        try:
            content = self.data.read_bytes()
        except OSError as err:
            raise ProjectError(f"{self.data}: cannot be read ({err.strerror})") from err
        self.data_stamp = stamp
        return content

    def check_unchanged(self) -> None:
        """Refuse to go on if QuPath (or anyone) wrote in the meantime.

        Raises:
            ProjectError: The project or the data file is not what was read.
        """
        expected = self.data_stamp if self.data_stamp is not None else Stamp(-1, -1)
        for path, stamp in ((self.project, self.project_stamp), (self.data, expected)):
            if Stamp.of(path) != stamp:
                raise ProjectError(
                    f"{path}: changed since it was read, and was not written; close QuPath and run this again"
                )

    def replace_data(self, content: bytes) -> None:
        """Write a new data file: keep the first old one as a backup, write beside, flush, rename.

        Raises:
            ProjectError: The files changed since they were read.
            OutputError: The disk is full or read-only; the old file is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.data.exists() and not self.backup.exists():
            replace_file(self.backup, self.data.read_bytes())
        with one_at_a_time(self.folder):
            # Under the lock: of two writers that read the same state only the first may go on.
            self.check_unchanged()
            replace_file(self.data, content)
        self.data_stamp = Stamp.of(self.data)
