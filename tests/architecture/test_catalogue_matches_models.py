"""Every catalogue entry can be built, and is what it says it is."""

from __future__ import annotations

import pytest

from detection_core.catalogue.detectors import DETECTORS, FAMILIES
from detection_core.catalogue.layouts import IMPORTED_FAMILIES, LAYOUTS


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_catalogue_entry_builds_with_the_parameters_it_states(name):
    torch = pytest.importorskip("torch")
    from detection_core.build import build_adapter

    entry = DETECTORS[name]
    classes = tuple(f"class {number}" for number in range(80))
    adapter = build_adapter(name, classes=classes)
    with torch.device("meta"):
        model = adapter.export_module(adapter.build())
    params_m = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert params_m == pytest.approx(entry.params_m, rel=0.03), f"{name} has {params_m:.3f} M parameters"


def test_every_detector_belongs_to_a_listed_family_with_its_own_colour():
    assert {entry.family for entry in DETECTORS.values()} <= set(FAMILIES)
    assert all(name == entry.name for name, entry in DETECTORS.items())
    colours = [family.colour for family in FAMILIES.values()]
    assert len(colours) == len(set(colours))


def test_every_layout_of_imported_files_has_a_family_and_an_adapter_and_no_two_a_name():
    pytest.importorskip("torch")
    import importlib

    assert set(LAYOUTS) <= set(FAMILIES) | set(IMPORTED_FAMILIES)
    assert not set(FAMILIES) & set(IMPORTED_FAMILIES)
    assert not set(LAYOUTS) & set(DETECTORS) - {"fastestdet"}
    taken = {family.colour for family in FAMILIES.values()}
    # The two whose architecture nobody knows share the colour of unknown families.
    assert all(family.colour not in taken for family in IMPORTED_FAMILIES.values())
    for layout in LAYOUTS.values():
        module, _, attribute = layout.builder.partition(":")
        assert hasattr(getattr(importlib.import_module(module), attribute), "postprocess"), layout.name
