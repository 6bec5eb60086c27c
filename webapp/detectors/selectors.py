"""Reads of the catalogue for pages."""

from __future__ import annotations

from dataclasses import dataclass

from detection_core.catalogue.detectors import DETECTORS, FAMILIES
from detection_core.catalogue.specs import Detector, Family


@dataclass(frozen=True)
class FamilyEntry:
    """A family with its detectors, smallest first."""

    family: Family
    detectors: list[Detector]


def detector_families(*, search: str = "") -> list[FamilyEntry]:
    """Return the families in the catalogue's order with the detectors whose name, title or family holds `search`."""
    wanted = search.strip().lower()
    entries = []
    for family in FAMILIES.values():
        found = [entry for entry in DETECTORS.values() if entry.family == family.name and _matches(entry, family, wanted)]
        if found:
            entries.append(FamilyEntry(family=family, detectors=sorted(found, key=lambda entry: (not entry.compact, entry.params_m))))
    return entries


def _matches(entry: Detector, family: Family, wanted: str) -> bool:
    return any(wanted in text.lower() for text in (entry.name, entry.title, family.title))


def detector_get(name: str) -> Detector | None:
    """Return a detector by name, or None."""
    return DETECTORS.get(name)
