"""From a forecast to a course, figure by figure. A start takes five minutes; a replica serves eight at once."""

from dataclasses import replace

import pytest

from scaler.model import Alternative, Reason, ReasonCode
from scaler.policy.ahead import follow, planned
from scaler.policy.course import Course
from scaler.policy.fleet import Fleet
from scaler.policy.forecast import Forecast
from scaler.policy.history import History
from scaler.policy.margin import Margin
from scaler.policy.outlook import YOUNG_STEPS, Outlook
from scaler.policy.plan import Plan, Standing, Term, plan, tuning
from scaler.settings import EndpointSettings, PolicySettings
from tests.policy.story import sample

SETTINGS = EndpointSettings(id="endpoint-1", min_replicas=2, max_replicas=8, policy=PolicySettings(cold_start_seconds=300))
PLAN = Plan(wanted=4, term=Term.AHEAD, needed=4, ahead=3.6, keep=4.2, load=2.4)
DOUBT = Reason(ReasonCode.WARMING_UP, "Too early.")


def figures(made: Plan, fleet: Fleet) -> dict[str, float]:
    return {
        "forecast_ahead": made.ahead,
        "forecast_keep": made.keep,
        "load": made.load,
        "needed": made.needed,
        "ready": fleet.ready,
        "starting": fleet.starting,
    }


def test_without_a_forecast_there_is_no_plan() -> None:
    assert planned(Outlook(), History(), Fleet(2), SETTINGS, 1000.0) is None


@pytest.mark.parametrize("known", [0, YOUNG_STEPS])
def test_a_plan_is_made_of_the_forecast_the_last_minute_and_what_is_there(known: int) -> None:
    foreseen = Forecast(3.0, 5.0, "model")
    history = History((sample(930, 80.0), *(sample(start, 20.0) for start in range(940, 1000, 10))), 930)
    made = planned(Outlook(known=known, forecast=foreseen), history, Fleet(1, (1200.0,), 1), SETTINGS, 1000.0)
    standing = Standing(load=20 / 8, running=1, starting=2, min_replicas=2, max_replicas=8)
    assert made == plan(foreseen, standing, tuning(300), cautious=known < YOUNG_STEPS)


def test_a_plan_has_the_margin_that_the_forecasts_have_earned() -> None:
    history = History((sample(930, 8.0),), 930)
    made = planned(Outlook(forecast=Forecast(3.0, 5.0, "model"), margin=Margin(0.2)), history, Fleet(2), SETTINGS, 1000.0)
    assert made is not None
    headroom = tuning(300).headroom * Margin(0.2).factor
    assert (made.ahead, made.keep) == pytest.approx((3 * headroom, 5 * headroom))


def test_the_peak_ahead_is_started_for_and_said() -> None:
    fleet = Fleet(2, (1200.0,))
    why = "In 5 min, when a start would serve, a peak of 3.6 replicas' worth is to be expected; serving: 2, starting: 1."
    assert follow(PLAN, fleet, SETTINGS, None) == Course(4, (Reason(ReasonCode.FORECAST, why, figures(PLAN, fleet)),))


def test_the_load_of_the_last_minute_repays_what_was_not_foreseen() -> None:
    made, fleet = replace(PLAN, term=Term.LOAD, load=3.7), Fleet(2)
    why = "The traffic of the last minute and what waits keep 3.7 replicas busy, more than was foreseen; serving: 2, starting: 0."
    assert follow(made, fleet, SETTINGS, DOUBT) == Course(4, (Reason(ReasonCode.TRAFFIC_UP, why, figures(made, fleet)),))


def test_more_than_the_ceiling_is_wanted_aloud() -> None:
    course = follow(replace(PLAN, wanted=8, needed=11), Fleet(7), SETTINGS, None)
    assert (course.replicas, course.bound_by, course.alternatives) == (8, "max_replicas", (Alternative(11, "limited by max_replicas"),))


def test_what_the_floor_alone_asks_for_is_not_said_to_be_foreseen() -> None:
    floor = Reason(ReasonCode.BOUNDED, "min_replicas asks for at least 2 replicas.", {"floor": 2})
    assert follow(replace(PLAN, wanted=2, needed=1), Fleet(1), SETTINGS, None) == Course(2, (floor,), bound_by="min_replicas")


def test_what_the_ceiling_takes_away_is_not_said_to_be_too_much() -> None:
    made = replace(PLAN, wanted=8, needed=9)
    limit = Reason(ReasonCode.BOUNDED, "max_replicas allows 8 replicas; without it there would be 9.", {"allowed": 8})
    assert follow(made, Fleet(9), SETTINGS, None) == Course(8, (limit,), (Alternative(9, "limited by max_replicas"),), "max_replicas")
    assert follow(made, Fleet(9), SETTINGS, DOUBT).reasons == (DOUBT,)
    assert follow(replace(made, needed=8), Fleet(9), SETTINGS, None).reasons[0].code is ReasonCode.TRAFFIC_DOWN


def test_what_is_there_may_be_just_what_is_needed() -> None:
    fleet = Fleet(4)
    why = "To be expected: a peak of 3.6 replicas' worth in 5 min, up to 4.2 within 10 min (two starts); there: 4."
    assert follow(PLAN, fleet, SETTINGS, DOUBT) == Course(4, (Reason(ReasonCode.STEADY, why, figures(PLAN, fleet)),))


def test_what_is_too_much_is_given_back_unless_something_speaks_against_it() -> None:
    fleet = Fleet(6)
    expected = "No more than 4.2 replicas' worth of traffic is to be expected within 10 min (two starts)"
    why = f"{expected}, 2.4 are there now: 4 replicas are enough."
    assert follow(PLAN, fleet, SETTINGS, None) == Course(4, (Reason(ReasonCode.TRAFFIC_DOWN, why, figures(PLAN, fleet)),))
    assert follow(PLAN, fleet, SETTINGS, DOUBT) == Course(6, (DOUBT,), (Alternative(4, "Too early."),), "warming_up")


def test_missing_hardware_is_waited_for_and_less_may_be_asked_for_meanwhile() -> None:
    missing = Fleet(2, (), 2)
    for wanted in (4, 5):
        course = follow(replace(PLAN, wanted=wanted), missing, SETTINGS, None)
        assert (course.replicas, course.reasons[0].code) == (4, ReasonCode.SHORTAGE)
        assert course.reasons[0].numbers == figures(PLAN, missing) | {"missing": 2}
    assert follow(replace(PLAN, wanted=3), missing, SETTINGS, None).replicas == 3
