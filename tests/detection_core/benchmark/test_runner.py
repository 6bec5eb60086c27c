"""One run, with a clock that moves only when told."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice

import pytest

from detection_core.benchmark.runner import WARMUPS, RunRecord, image_order, measure
from detection_core.catalogue.scenarios import DURATIONS
from tests.detection_core.benchmark.fakes import MS, FakeClock, FakeQuery

QUICK, STANDARD, FULL = DURATIONS["quick"], DURATIONS["standard"], DURATIONS["full"]


def run(latency_ms, rule=QUICK, **more):
    clock = FakeClock()
    query = FakeQuery(clock, latency_ms)
    return measure(query, rule, images=40, clock=clock, **more), query, clock


def test_a_run_ends_when_samples_and_seconds_are_both_reached():
    fast, _, _ = run(lambda n: 10)
    assert len(fast.recorded()) == 500  # 5 s decide
    slow, _, _ = run(lambda n: 80)
    assert len(slow.recorded()) == 100  # 100 samples decide


@pytest.mark.parametrize(("rule", "latency", "limit_s"), [(QUICK, 190, 20), (QUICK, 3000, 20), (STANDARD, 400, 60), (FULL, 900, 600)])
def test_a_slow_detector_is_stopped_by_the_clock_and_marked(rule, latency, limit_s):
    record, _, clock = run(lambda n: latency, rule)
    assert not record.enough_samples
    assert clock() / 1e9 <= limit_s + latency / 1000
    assert len(record.recorded()) < rule.min_samples


def test_a_run_that_reaches_its_samples_as_the_time_ends_is_not_marked():
    record, _, _ = run(lambda n: 100, replace(QUICK, min_seconds=30.0))
    assert record.enough_samples
    assert 100 < len(record.recorded()) < 200


def test_warm_up_samples_are_kept_and_not_counted():
    record, query, _ = run(lambda n: 500 if n < 3 else 10)
    assert record.warmup_samples >= 10
    assert record.samples.outer_ns[:3] == [500 * MS] * 3
    assert set(record.recorded()) == set(record.stage_samples()[0]) == {10 * MS}
    assert len(record.stage_samples()[1]["forward"]) == 500
    assert len(record.samples.outer_ns) == len(query.images) == record.warmup_samples + 500


def test_recording_waits_until_three_windows_agree():
    record, _, _ = run(lambda n: 30 if n < 80 else 10)
    assert record.steady
    assert record.warmup_samples > 80 + 3 * 60
    assert set(record.recorded()) == {10 * MS}


def test_a_standard_run_warms_up_for_50_iterations_and_3_seconds_and_three_windows_of_100_and_2_seconds():
    record, _, _ = run(lambda n: 10, STANDARD)
    assert record.warmup_samples == 300 + 3 * 200
    record, _, _ = run(lambda n: 50, STANDARD)
    assert [window["samples"] for window in record.windows] == [60, 60, 60]  # a window ends after an eighth of the warm-up's time


def test_a_run_that_never_settles_gives_up_after_ten_windows_and_goes_on():
    record, _, _ = run(lambda n: 10 + n % 400 / 20, STANDARD)
    assert not record.steady
    assert len(record.windows) == 10
    assert record.enough_samples


def test_a_tail_alone_keeps_windows_from_agreeing_by_their_throughput():
    record, _, _ = run(lambda n: 300 if n in (400, 800, 1200) else 10, STANDARD)
    medians = [window["median_ms"] for window in record.windows]
    assert set(medians) == {10}
    assert len(record.windows) > 3


def test_the_warm_up_of_every_duration_ends_within_its_limit():
    for name, rule in DURATIONS.items():
        record, _, _ = run(lambda n: 20 + n % 90 / 3, rule)
        assert record.recorded_ns[0] / 1e9 <= WARMUPS[name].limit_s + 0.1
        assert WARMUPS[name].limit_s <= 0.4 * rule.max_seconds


def test_every_sample_knows_when_it_began():
    record, _, _ = run(lambda n: 10)
    assert record.samples.offset_ns[:3] == [0, 10 * MS, 20 * MS]


def test_images_come_in_one_seeded_order_over_and_over():
    record, query, _ = run(lambda n: 10, seed=3)
    assert query.images[:40] == query.images[40:80]
    assert sorted(query.images[:40]) == list(range(40))
    assert record.samples.image == query.images
    assert list(islice(image_order(40, 3), 40)) == query.images[:40] != list(islice(image_order(40, 4), 40))


def test_further_runs_see_the_images_in_another_order():
    assert run(lambda n: 10, run=0)[1].images[:40] != run(lambda n: 10, run=1)[1].images[:40]


def test_stages_are_kept_beside_the_outer_time():
    record, _, _ = run(lambda n: 20)
    outer, stages = record.stage_samples()
    assert set(stages) == {"preprocess", "forward"}
    assert (stages["preprocess"] + stages["forward"] == outer).all()


def test_stages_of_an_accelerator_come_from_a_pass_of_their_own():
    clock = FakeClock()
    headline, staged = FakeQuery(clock, lambda n: 10), FakeQuery(clock, lambda n: 14)
    record = measure(lambda image: headline(image) and {}, QUICK, images=40, clock=clock, stage_query=staged)
    assert record.samples.stages_ns == {}
    assert set(record.recorded()) == {10 * MS}
    outer, stages = record.stage_samples()
    assert len(outer) == len(stages["forward"]) == 40
    assert set(outer) == {14 * MS}


def test_telemetry_is_read_at_both_ends_of_the_recorded_part():
    clock, seen = FakeClock(), []
    query = FakeQuery(clock, lambda n: 10)
    record = measure(
        query, QUICK, images=5, clock=clock, start_ns=clock(), read_telemetry=lambda: seen.append((clock(), len(query.images)))
    )
    assert [count for _, count in seen] == [record.warmup_samples, record.warmup_samples + 500]
    assert tuple(now - 12_345 for now, _ in seen) == record.recorded_ns


def test_progress_rises_comes_about_once_a_second_and_tells_the_time_left():
    told = []
    run(lambda n: 10, on_progress=lambda fraction, eta_s: told.append((fraction, eta_s)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert 5 <= len(told) <= 10
    assert told[-1][1] == pytest.approx(0, abs=1.1)
    assert told[-2][1] > told[-1][1]


def test_a_run_can_be_stopped_from_its_progress():
    def stop(fraction, eta_s):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lambda n: 10, on_progress=stop)


def test_a_record_survives_json():
    record, _, _ = run(lambda n: 10)
    assert RunRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record
