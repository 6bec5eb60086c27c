"""Errors and calibration on real detections, against the numbers of tidecv and netcal and against a second, plain way to them.

The data are the COCO API's sample detections on 100 images of val2014 (data set `map-eval`), which are nearly all right or of the wrong
class; and the same made worse, so that every kind of error is there. The numbers of the two packages stand here because the packages need
much that the project does not (OpenCV, pandas, seaborn; pyro, gpytorch, scikit-learn). They were made with tidecv 1.0.1 and netcal 1.4.0:

    run = TIDE().evaluate(ground_truth, detections, mode=TIDE.BOX, pos_threshold=0.5, background_threshold=0.1)
    run.ap, run.count_errors(), run.fix_main_errors(), run.fix_special_errors()
    ECE(bins=10, detection=True).measure(scores, right)  # of detections with a score above 0.05 that no crowd hides

tidecv got no crowds, for it also counts detections in a crowd among the errors, and no detections of classes without ground truth, for it
takes the AP of such a class for 0 where COCO leaves it out. Its recall levels are 0/100, 1/100, ...; COCO's are numpy's linspace, which
differs from those in the last digit, so that AP differs where a recall falls on a level.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from detection_core.evaluation.coco_files import read_detections, read_ground_truth
from detection_core.evaluation.errors import calibration, error_shares
from tests.data_at_hand import data_folder
from tests.detection_core.evaluation.plain_tide import COCO_LEVELS, plain_ece, plain_tide

pytestmark = pytest.mark.heavy

TIDECV_LEVELS = np.arange(101) / 100
TIDECV = {
    "as they are": {
        "ap50": 0.6970827357310577,
        "counts": {"Cls": 74, "Loc": 1, "Both": 0, "Dupe": 1, "Bkg": 0, "Miss": 106},
        "gain": {
            "Cls": 0.15572502624814788,
            "Loc": 0.00249882131070251,
            "Both": 0.0,
            "Dupe": 0.00020599225914494924,
            "Bkg": 0.0,
            "Miss": 0.10561357418251859,
            "FP": 0.07406295026611347,
            "FN": 0.19305552355722796,
        },
    },
    "made worse": {
        "ap50": 0.32981326196983274,
        "counts": {"Cls": 298, "Loc": 269, "Both": 105, "Dupe": 203, "Bkg": 8, "Miss": 102},
        "gain": {
            "Cls": 0.2648142205956153,
            "Loc": 0.08542369016400961,
            "Both": 0.0243684625934646,
            "Dupe": 0.016495354563603827,
            "Bkg": 0.0015779815384900787,
            "Miss": 0.042801639276333035,
            "FP": 0.33256297565392984,
            "FN": 0.13439578803828658,
        },
    },
}
NETCAL = {"as they are": (706, 0.3763583569405099), "made worse": (1306, 0.14728355409171)}
BOTH = pytest.mark.parametrize("which", ["as they are", "made worse"])


@pytest.fixture(scope="module")
def real():
    folder = data_folder("map-eval")
    ground_truth = read_ground_truth(folder / "instances_val2014_100.json")
    return ground_truth, read_detections(folder / "instances_val2014_fakebbox100_results.json", ground_truth)[0]


def made_worse(ground_truth, rows):
    """Each detection twice, once moved by a quarter of its size or so, one in five of another class, with lower scores."""
    rng = random.Random(7)
    labels = sorted({entry["category_id"] for entry in ground_truth["annotations"]})
    worse = []
    for image, x, y, width, height, score, label in rows.tolist():
        for shift in (0, 0.25):
            moved = (x + rng.gauss(0, shift) * width, y + rng.gauss(0, shift) * height, width, height)
            worse.append((image, *moved, score * rng.uniform(0.3, 1), rng.choice(labels) if rng.random() < 0.2 else label))
    return np.array(worse)


def as_given_to_tidecv(real, which):
    """Without crowds and classes that have no ground truth; no two scores are equal, for tidecv has an order of its own among those."""
    ground_truth = {**real[0], "annotations": [entry for entry in real[0]["annotations"] if not entry["iscrowd"]]}
    there = sorted({entry["category_id"] for entry in ground_truth["annotations"]})
    rows = real[1][np.isin(real[1][:, 6], there)]
    rows = made_worse(ground_truth, rows) if which == "made worse" else rows.copy()
    rows[:, 5] -= 1e-7 * np.arange(len(rows))
    return ground_truth, rows


@BOTH
def test_kinds_of_error_are_counted_as_tidecv_counts_them(real, which):
    assert error_shares(*as_given_to_tidecv(real, which)).counts == TIDECV[which]["counts"]


@BOTH
def test_the_plain_way_gives_tidecvs_gains_at_tidecvs_levels_and_ours_at_cocos(real, which):
    given = as_given_to_tidecv(real, which)
    shares, tidecv = error_shares(*given), TIDECV[which]
    plain = plain_tide(*given, levels=TIDECV_LEVELS)
    assert plain["ap50"] == pytest.approx(tidecv["ap50"], abs=1e-12)
    assert plain["gain"] == pytest.approx(tidecv["gain"], abs=1e-12)
    plain = plain_tide(*given, levels=COCO_LEVELS)
    assert shares.ap50 == pytest.approx(plain["ap50"], abs=1e-12)
    assert shares.gain == pytest.approx(plain["gain"], abs=1e-12)


@BOTH
def test_gains_are_tidecvs_but_for_the_last_digit_of_its_levels(real, which):
    shares, tidecv = error_shares(*as_given_to_tidecv(real, which)), TIDECV[which]
    assert shares.ap50 == pytest.approx(tidecv["ap50"], abs=2e-4)
    assert shares.gain == pytest.approx(tidecv["gain"], abs=2e-4)


@BOTH
def test_errors_with_crowds_and_equal_scores_are_those_of_the_plain_way(real, which):
    ground_truth, rows = real
    rows = made_worse(ground_truth, rows) if which == "made worse" else rows
    shares, plain = error_shares(ground_truth, rows), plain_tide(ground_truth, rows)
    assert shares.counts == plain["counts"]
    assert shares.gain == pytest.approx(plain["gain"], abs=1e-12)


@BOTH
def test_calibration_is_that_of_netcal_and_of_the_plain_way(real, which):
    ground_truth, rows = real
    rows = made_worse(ground_truth, rows) if which == "made worse" else rows
    result = calibration(ground_truth, rows)
    assert (result.detections, result.ece) == (NETCAL[which][0], pytest.approx(NETCAL[which][1], abs=1e-12))
    assert result.ece == pytest.approx(plain_ece(ground_truth, rows, floor=0.05, bins=10), abs=1e-12)
