"""In which colours the pixels of a slide are shown: those of its file, or those of sRGB by an ICC profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qpkit.errors import FormatError

EMBEDDED: Final = "embedded"
"""The profile that a slide's own file holds."""

WHITE: Final = (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Colors:
    """How pixels become those that are shown; picklable, and written into export.json as it is.

    Args:
        icc: Profile that the file's pixels are in: "" leaves them as they are, "embedded" is the file's own, else the
            path of one.
        target: Path of the profile that they are shown in; "" is sRGB.
        background: (red, green, blue) of what lies below transparent pixels and where no tile was ever written, before
            any profile.
    """

    icc: str = ""
    target: str = ""
    background: tuple[int, int, int] = WHITE

    def __str__(self) -> str:
        shown = f"in the colours of {self.target}" if self.target else "in sRGB"
        by = "the file's own ICC profile" if self.icc == EMBEDDED else f"the ICC profile {self.icc}"
        text = f"{shown} by {by}" if self.icc else "as in the file"
        below = "" if self.background == WHITE else ", on #{:02x}{:02x}{:02x}".format(*self.background)
        return text + below

    @property
    def files(self) -> list[Path]:
        """The files of profiles that it takes."""
        return [Path(name) for name in (self.icc, self.target) if self.icc and name not in ("", EMBEDDED)]


AS_IN_FILE: Final = Colors()


def read_profile(path: Path) -> bytes:
    """Read the file of an ICC profile.

    Raises:
        FormatError: It is not there.
    """
    try:
        return path.read_bytes()
    except OSError as err:
        raise FormatError(f"{path} cannot be read ({err.strerror})") from err
