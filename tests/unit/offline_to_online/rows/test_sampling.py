from __future__ import annotations

from data_exchange_center.channels import BREAK_S
from offline_to_online.rows import LONGEST, request_time, sampled_users
from tests.unit.offline_to_online.user_rows import row_of


def test_samples_hold_the_longest_histories_and_are_the_same_every_time() -> None:
    rows = [row_of(userid, [], [1.0], list(range(1, userid + 1))) for userid in range(1, 201)]
    rows.append(row_of(999, [], None, list(range(1, 999))))  # neither vector nor history: nothing to compare
    sample = sampled_users(rows, 50)
    userids = [row.userid for row in sample]
    assert len(set(userids)) == 50
    assert set(range(201 - LONGEST, 201)) <= set(userids)
    assert 999 not in userids
    assert userids == [row.userid for row in sampled_users(rows[::-1], 50)]


def test_half_of_the_requests_fall_into_the_users_last_session_and_half_after_a_break() -> None:
    rows = [row_of(userid, [], None, [], [(1, 5, 1_000_000)]) for userid in range(1, 101)]
    ages = [row.history.ages(request_time(row))[0] for row in rows]
    assert sum(age < BREAK_S for age in ages) == sum(age >= BREAK_S for age in ages) == 50
    assert min(ages) > 0
    assert request_time(row_of(1, [], None, [])) > 0  # nobody's history is empty in a sample, but it may be asked for
