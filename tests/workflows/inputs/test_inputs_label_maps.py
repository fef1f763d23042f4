"""Names in a label map that no object has are refused, unless the map says that they may be missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpkit.core.labels import LabelMap, label_map_from_builtins, label_map_to_builtins, parse_label_map
from qpkit.errors import LabelError
from qpkit.workflows.inputs.label_maps import require_known_classes

KNOWN = {"Tumor", "Stroma", "Region*"}


def labels(text: str) -> LabelMap:
    return parse_label_map(text, source="labels.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[class]]\nname = "Tumour"\nvalue = 1\n', "no object has class 'Tumour', did you mean 'Tumor'?"),
        ('[[class]]\nname = "a"\nvalue = 1\nfrom = ["tumor"]\n', "no object has class 'tumor', did you mean 'Tumor'?"),
        (
            '[[class]]\nname = "Vessel"\nvalue = 1\n',
            "no object has class 'Vessel', there are 'Region*', 'Stroma', 'Tumor'",
        ),
        ('regions = ["Regions*"]\n[[class]]\nname = "Tumor"\nvalue = 1\n', "did you mean 'Region*'?"),
        ('[[class]]\nname = "Not"\nvalue = "background"\n', "no object has class 'Not'"),
    ],
)
def test_a_name_that_no_object_has_is_refused(text: str, said: str) -> None:
    with pytest.raises(LabelError) as caught:
        require_known_classes(labels(text), KNOWN)
    assert said in str(caught.value) and "optional = true" in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        '[[class]]\nname = "Vessel"\nvalue = 1\noptional = true\n',
        '[[class]]\nname = "Not"\nvalue = "ignore"\noptional = true\n',
        '[[class]]\nname = "both"\nvalue = 1\nfrom = ["tumour", "Tumor"]\n',
        '[[class]]\nname = "rest"\nvalue = 1\nfrom = ["*"]\n',
        '[[class]]\nname = "none"\nvalue = 1\nfrom = [""]\n',
        'ignored = ["Artefact*"]\nregions = ["Core"]\n[[class]]\nname = "Tumor"\nvalue = 1\n',
        '[[class]]\nname = "Tumor"\nvalue = 1\n[[class]]\nname = "Ring"\nvalue = 2\nof = "Tumor"\ngrow_um = 3.0\n',
    ],
)
def test_what_may_be_missing_is_fine_and_stays_so_in_files(text: str) -> None:
    found = labels(text)
    require_known_classes(found, KNOWN)
    again = label_map_from_builtins(label_map_to_builtins(found))
    assert again == replace(found, classes=found.classes)
