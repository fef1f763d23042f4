"""Which QuPath versions would refuse a GeoJSON file, and what they would silently change: the rules, over a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qpkit.errors import FormatError
from qpkit.files import AnyPath
from qpkit.memory import gc_paused
from qpkit.qupath.geojson.checks import rules as rules
from qpkit.qupath.geojson.checks.features import FeatureCheck, check_wrapper
from qpkit.qupath.geojson.checks.rules import VERSIONS, Rule, Severity
from qpkit.qupath.geojson.source import TEXT_ENDINGS, Container, Document, container_of, open_documents
from qpkit.qupath.geojson.stream import Chunk, read_batches

_EXAMPLES: Final = 5
_MAX_NESTING: Final = 200


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """One thing that is wrong, and where.

    Args:
        severity: As in Rule.
        versions: Which it hits.
        text: What is wrong.
        document: The file, or the file inside the zip.
        features: How many features have it; 0 if it is about the whole document.
        examples: Numbers of the first of them, from 0.
    """

    severity: Severity
    versions: tuple[str, ...]
    text: str
    document: str
    features: int
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one QuPath version does with the file.

    Args:
        version: As in VERSIONS.
        accepted: False if the import ends with an error; nothing is imported then.
        objects: How many objects it imports.
        reasons: Why not.
    """

    version: str
    accepted: bool
    objects: int
    reasons: tuple[RuleFinding, ...]


@dataclass(frozen=True, slots=True)
class GeoJsonDiagnosis:
    """What the QuPath versions do with a file.

    Args:
        path: The file.
        features: How many there are, as far as the file can be read.
        verdicts: One for each version.
        changes: What is read as something else than what is written.
    """

    path: Path
    features: int
    verdicts: tuple[Verdict, ...]
    changes: tuple[RuleFinding, ...]

    @property
    def is_safe(self) -> bool:
        """Whether all versions import the file."""
        return all(verdict.accepted for verdict in self.verdicts)


def diagnose_geojson(path: AnyPath) -> GeoJsonDiagnosis:
    """Say which QuPath versions would refuse a file and why, and what they would silently change.

    A damaged file is no error here, but a finding. The memory it takes grows only with the number of ids.

    Raises:
        ProjectError: There is no such file, or it cannot be read.
    """
    file = Path(path)
    container = container_of(file)
    tallies: list[_Tally] = []
    outer = _Tally(str(file))
    for rule in _check_name(file.name, container):
        outer.note(rule)
    try:
        for document in open_documents(file):
            tally = _tally(document)
            if container == "zip":
                tally.skip_if_refused()
            tallies.append(tally)
    except FormatError as err:
        outer.note(_not_json(err, outer.name))
    return _diagnosis(file, outer, tallies)


class _Tally:
    """What was found in one document."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.features = 0
        self.check = FeatureCheck()
        self._counts: dict[Rule, int] = {}
        self._examples: dict[Rule, list[int]] = {}
        self._skipped: set[str] = set()

    def note(self, rule: Rule, feature: int | None = None) -> None:
        self._counts[rule] = self._counts.get(rule, 0) + (feature is not None)
        examples = self._examples.setdefault(rule, [])
        if feature is not None and len(examples) < _EXAMPLES:
            examples.append(feature)

    def add(self, features: list[Any]) -> None:
        for feature, found in enumerate(self.check.check(features), self.features):
            for rule in found:
                self.note(rule, feature)
        self.features += len(features)

    def forget(self) -> None:
        """Start again: what was read is not imported."""
        self.check = FeatureCheck()
        self._counts.clear()
        self._examples.clear()

    def skip_if_refused(self) -> None:
        """Turn refusals into what QuPath does with the files of a zip: it passes over the bad ones."""
        for rule in [rule for rule in self._counts if rule.severity == "refused"]:
            self._skipped.update(rule.versions)
            text = f"{rules.MEMBER_SKIPPED.text}: {rule.text}"
            skipped = Rule("changed", rule.versions, text)
            self._counts[skipped] = self._counts.pop(rule)
            self._examples[skipped] = self._examples.pop(rule)

    def objects(self, version: str) -> int:
        if version in self._skipped:
            return 0
        # 0.3 does not read childObjects.
        return self.check.objects if version == VERSIONS[0] else self.check.objects_with_children

    def findings(self) -> list[RuleFinding]:
        return [
            RuleFinding(rule.severity, rule.versions, rule.text, self.name, count, tuple(self._examples[rule]))
            for rule, count in sorted(self._counts.items(), key=lambda item: (-item[1], item[0].text))
        ]


def _tally(document: Document) -> _Tally:
    tally = _Tally(document.name)
    try:
        batches = read_batches(document)
        while True:
            with gc_paused(2 << 20):
                batch = next(batches, None)
                if batch is None:
                    break
                _add(batch, tally)
    except FormatError as err:
        tally.note(_not_json(err, document.name))
    return tally


def _add(batch: Chunk, tally: _Tally) -> None:
    if not batch.is_utf8:
        tally.note(rules.TEXT_NOT_UTF8)
    if batch.place == "features":
        tally.add(batch.values)
    elif not batch.values:
        tally.note(rules.EMPTY_FILE)
    else:
        if batch.place == "wrapper" and batch.values[0].get("type") != "FeatureCollection":
            tally.forget()
        _add_wrapped(batch.values, tally, 0)


def _add_wrapped(values: Iterable[Any], tally: _Tally, depth: int) -> None:
    for value in values:
        if isinstance(value, list) and depth < _MAX_NESTING:
            _add_wrapped(value, tally, depth + 1)
            continue
        features, found = check_wrapper(value)
        for rule in found:
            tally.note(rule)
        tally.add(features)


def _check_name(name: str, container: Container) -> Iterable[Rule]:
    """Compare the name, which QuPath goes by, with what the file is."""
    lower = name.lower()
    if lower.endswith(".zip"):
        expected = "zip"
    elif lower.removesuffix(".gz").endswith(TEXT_ENDINGS):
        expected = "gzip" if lower.endswith(".gz") else "plain"
    else:
        return [rules.NAME_UNKNOWN]
    found = [rules.GZIP_UNKNOWN] if expected == "gzip" else []
    return found if container == expected else [*found, rules.OTHER_CONTAINER]


def _not_json(err: FormatError, name: str) -> Rule:
    return Rule("refused", rules.NOT_JSON.versions, str(err).removeprefix(f"{name}: "))


def _diagnosis(file: Path, outer: _Tally, tallies: list[_Tally]) -> GeoJsonDiagnosis:
    findings = [finding for tally in (outer, *tallies) for finding in tally.findings()]
    # A version passes over such a file without an error, and without an object.
    unread = (rules.GZIP_UNKNOWN.text, rules.NAME_UNKNOWN.text)
    verdicts = []
    for version in VERSIONS:
        hits = [finding for finding in findings if version in finding.versions]
        reads = not any(finding.text in unread for finding in hits)
        reasons = tuple(finding for finding in hits if finding.severity == "refused") if reads else ()
        objects = sum(tally.objects(version) for tally in tallies) if reads and not reasons else 0
        verdicts.append(Verdict(version, not reasons, objects, reasons))
    changes = tuple(finding for finding in findings if finding.severity == "changed")
    return GeoJsonDiagnosis(file, sum(tally.features for tally in tallies), tuple(verdicts), changes)
