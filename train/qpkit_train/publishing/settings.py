"""What a person has to say of a model that others will use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from qpkit.settings import Flag, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSettings(Settings):
    """What a person has to say of a model that others will use.

    Args:
        license: With --for: under which licence others may use the model, by its SPDX name, such as CC-BY-4.0.
        authors: With --for: who made it (repeatable).
        title: With --for: what it is called; the run's id if left out.
    """

    license: Annotated[str, Flag(metavar="SPDX")] = ""
    authors: Annotated[tuple[str, ...], Flag(name="--author", metavar="NAME")] = ()
    title: str = ""

    def faults(self) -> Iterator[str]:
        """Name a licence that is no name of SPDX's kind, and blank authors."""
        if self.license and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", self.license):
            yield f"--license {self.license!r}: has to be an SPDX name, such as CC-BY-4.0, Apache-2.0 or MIT"
        if any(not name.strip() for name in self.authors):
            yield "--author: a name is blank"
