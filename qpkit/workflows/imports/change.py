"""What an import does to one entry: compared with what is there, and with what the ledger says was there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qpkit.core.annotation import Annotation
from qpkit.core.provenance import RUN_KEY, is_prediction, is_untouched, run_of
from qpkit.predictions.ledger import Ledgers, alike
from qpkit.qupath import Entry
from qpkit.workflows.imports.settings import ImportSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an import does to one entry.

    Args:
        run: The run that is imported.
        add: Objects to put in.
        remove: Ids of objects to take out, by the run that they are of.
        unchanged: Objects that are there as they would be put in.
        edited: Ids of predictions that a person has changed; they stay.
        recognised: Predictions that have lost their metadata.
        deleted: Rows of what a person deleted.
        left_out: How many objects were left out because of it.
    """

    run: str
    add: list[Annotation]
    remove: dict[str, set[str]]
    unchanged: list[Annotation]
    edited: set[str | None]
    recognised: int
    deleted: Any
    left_out: int

    @classmethod
    def of(
        cls, entry: Entry, made: Sequence[Annotation], run: str, ledgers: Ledgers, settings: ImportSettings
    ) -> Change:
        """Compare what was made with what is there."""
        by_id = {o.id: o for o in made}
        objects = entry.objects() if entry.has_data else []
        ledger = ledgers.of(run)
        # Before anything else: what is gone, and no import took it out, a person has deleted.
        gone = ledger.deleted(str(entry.id), {o.id for o in objects})
        if settings.restore:
            gone = gone.slice(0, 0)
        is_gone = alike(made, gone)
        # Of an object without metadata and with another name the id still tells that it was predicted.
        there = [o for o in objects if is_prediction(o) or o.id in by_id]
        # Without an id nothing tells that it is the same object: it counts as edited, and stays.
        untouched = {o.id: o for o in there if o.id is not None and _is_untouched(o, by_id.get(o.id))}
        edited = {o.id for o in there if o.id not in untouched}
        new = [o for o, was_deleted in zip(made, is_gone, strict=True) if not was_deleted]
        unchanged = [o for o in new if o.id in untouched and _alike(o, untouched[o.id])]
        same = {o.id for o in unchanged}
        remove: dict[str, set[str]] = {}
        for identity, old in untouched.items():
            of = run if identity in by_id else run_of(old) or run
            if identity not in same and (of == run or not settings.append):
                remove.setdefault(of, set()).add(identity)
        return cls(
            run=run,
            add=[o for o in new if o.id not in same and o.id not in edited],
            remove=remove,
            unchanged=unchanged,
            edited=edited,
            recognised=sum(not o.metadata.get(RUN_KEY) for o in there),
            deleted=gone,
            left_out=int(is_gone.sum()),
        )

    def make(self, entry: Entry, ledgers: Ledgers, said: Mapping[str, Any]) -> None:
        """Change the entry, then the ledgers: what they do not know yet counts as not imported."""
        removed = set().union(*self.remove.values())
        if removed or self.add:
            entry.replace_objects(remove=removed, add=self.add)
        for run, ids in self.remove.items():
            if run != self.run:
                ledgers.put(ledgers.of(run).marked(str(entry.id), ids, "replaced"))
        now = [*self.unchanged, *self.add]
        ledger = ledgers.of(self.run)
        ledgers.put(ledger.after_import(str(entry.id), entry.name, now, self.deleted, said, edited=self.edited))

    def counts(self) -> dict[str, int]:
        """As SlideImport has them."""
        return {
            "added": len(self.add),
            "removed": sum(map(len, self.remove.values())),
            "unchanged": len(self.unchanged),
            "kept_edited": len(self.edited),
            "recognised": self.recognised,
            "deleted": self.left_out,
        }


def _is_untouched(old: Annotation, new: Annotation | None) -> bool:
    """Whether nobody has changed an object since it was imported; `new` is the prediction with its id."""
    if RUN_KEY in old.metadata or new is None:
        return is_untouched(old)
    return is_untouched(replace(new, geometry=old.geometry, path_class=old.path_class, locked=old.locked))


def _alike(new: Annotation, old: Annotation) -> bool:
    """Whether an object of the same id says the same: its kind and its measurements."""
    same_names = new.measurements.keys() == old.measurements.keys()
    return (
        new.kind == old.kind
        and RUN_KEY in old.metadata
        and same_names
        # QuPath may have saved the measurements again, as floats.
        and all(math.isclose(value, old.measurements[name], rel_tol=1e-5) for name, value in new.measurements.items())
    )
