"""What an import does to one entry: compared with what is there, and with what the ledger says was there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qpkit.core.annotation import Annotation
from qpkit.core.lazy_annotations import LazyAnnotations, ids_of
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
        now: What is there afterwards as it was made: what stays unchanged, then what is put in.
        edited: Ids of predictions that a person has changed; they stay.
        recognised: Predictions that have lost their metadata.
        deleted: Rows of what a person deleted.
        left_out: How many objects were left out because of it.
    """

    run: str
    add: LazyAnnotations
    remove: dict[str, set[str]]
    now: LazyAnnotations
    edited: set[str | None]
    recognised: int
    deleted: Any
    left_out: int

    @classmethod
    def of(cls, entry: Entry, made: LazyAnnotations, run: str, ledgers: Ledgers, settings: ImportSettings) -> Change:
        """Compare what was made with what is there."""
        ids = [str(identity) for identity in ids_of(made)]
        objects = entry.objects() if entry.has_data else []
        present = {o.id for o in objects}
        places = {identity: place for place, identity in enumerate(ids) if identity in present}
        ledger = ledgers.of(run)
        # Before anything else: what is gone, and no import took it out, a person has deleted.
        gone = ledger.deleted(str(entry.id), present)
        if settings.restore:
            gone = gone.slice(0, 0)
        is_gone = alike(made, gone)
        # Of an object without metadata and with another name the id still tells that it was predicted.
        there = [o for o in objects if is_prediction(o) or o.id in places]
        there.sort(key=lambda o: places.get(o.id or "", -1))  # as they were made, which is from first to last
        # Without an id nothing tells that it is the same object: it counts as edited, and stays.
        untouched = {o.id: o for o in there if o.id is not None and _is_untouched(o, made, places.get(o.id))}
        edited = {o.id for o in there if o.id not in untouched}
        unchanged = {
            identity: place
            for identity, place in places.items()
            if not is_gone[place] and identity in untouched and _alike(made[place], untouched[identity])
        }
        is_new = np.array([identity not in unchanged and identity not in edited for identity in ids], np.bool_)
        add = np.flatnonzero(is_new & ~is_gone)
        remove: dict[str, set[str]] = {}
        for identity, old in untouched.items():
            of = run if identity in places else run_of(old) or run
            if identity not in unchanged and (of == run or not settings.append):
                remove.setdefault(of, set()).add(identity)
        return cls(
            run=run,
            add=made.chosen(add),
            remove=remove,
            now=made.chosen(np.concatenate([np.array([*unchanged.values()], np.int64), add])),
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
        ledger = ledgers.of(self.run)
        ledgers.put(ledger.after_import(str(entry.id), entry.name, self.now, self.deleted, said, edited=self.edited))

    def counts(self) -> dict[str, int]:
        """As SlideImport has them."""
        return {
            "added": len(self.add),
            "removed": sum(map(len, self.remove.values())),
            "unchanged": len(self.now) - len(self.add),
            "kept_edited": len(self.edited),
            "recognised": self.recognised,
            "deleted": self.left_out,
        }


def _is_untouched(old: Annotation, made: LazyAnnotations, place: int | None) -> bool:
    """Whether nobody has changed an object since it was imported; the prediction with its id has a place in `made`."""
    if RUN_KEY in old.metadata or place is None:
        return is_untouched(old)
    new = made[place]
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
