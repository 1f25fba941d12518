"""Text of plans and objects, against golden files that are read in review.

``make golden`` writes them anew. Plans that a real planner made are in ``planning/test_golden_plans.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane import report
from controlplane.report import Line, Style
from controlplane.schema.conditions import ConditionStatus, ConditionType, Reason
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import Kind
from controlplane.schema.plans import Action, Counts, FieldPlan, ObjectProblem, Plan, PlanReason, Progress
from tests.controlplane.samples import (
    NOW,
    POLICY,
    READY,
    SYNCED,
    blocked,
    change,
    condition,
    create,
    deletion,
    key,
    key_store,
    plan,
    principal,
    xks_proxy,
)
from tests.golden import RULES, compare

LONG_POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Sid":"all","Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*",'
    '"Resource":"*"}]}'
)


def text(lines: Iterable[Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def field(path: str, before: object = None, after: object = None, **more: object) -> FieldPlan:
    return FieldPlan(path=path, before=before, after=after, **more)  # type: ignore[arg-type]


EVERY_ACTION = plan(
    blocked(
        "root-ca",
        PlanReason.PROTECTED,
        "it is protected (deletion.protect: true); put it back and lift the protection first",
    ),
    change(Action.SCHEDULE_DELETION, "payments-old", PlanReason.REMOVED_FROM_SET, window_days=30),
    change(Action.DELETE, "ci-old", PlanReason.REMOVED_FROM_SET, Kind.PRINCIPAL),
    change(Action.DELETE, "hsm-old", PlanReason.REMOVED_FROM_SET, Kind.KEY_STORE),
    change(
        Action.UPDATE,
        "payments-sign",
        PlanReason.SPEC_CHANGED,
        fields=(
            field("description", "for invoices"),
            field("enabled", False, True),
            field("rotation.periodDays", 365, 90),
            field("tags.cost centre", None, "42"),
        ),
        unchanged_fields=6,
    ),
    create("payments-us"),
    create("payments-eu"),
    create(
        "hsm-a",
        Kind.KEY_STORE,
        fields=(
            field("pkcs11.module", None, "libsofthsm2.so"),
            field("pkcs11.pin", None, "(sensitive)", sensitive=True),
            field("type", None, "pkcs11"),
        ),
    ),
    unchanged=4,
)
EVERY_OBSTACLE = plan(
    blocked(
        "a-immutable",
        PlanReason.IMMUTABLE_FIELD,
        "keySpec cannot change in place (its material is of another kind); declare a second key under another name and "
        "move the alias to it; data stays readable under the first",
        fields=(
            field("description", "old", "new"),
            field("keySpec", "SYMMETRIC_DEFAULT", "RSA_2048", immutable="its material is of another kind"),
            field("region", None, "eu-west-1", immutable="a key lives in one Region"),
        ),
        unchanged_fields=1,
    ),
    *(blocked(f"b-{reason.lower()}", reason) for reason in PlanReason if reason not in ("Declared", "SpecChanged")),
    blocked("c-spec", PlanReason.SPEC_CHANGED),
)
VALUES = plan(
    create(
        "new",
        fields=(
            field("aliases", None, ["a", "b"]),
            field("description", None, "x" * 1000),
            field("policy.document", None, POLICY),
            field("policies.long.document", None, LONG_POLICY),
            field("policies.huge.document", None, "\n".join(f"line {number}" for number in range(1000))),
        ),
    ),
    change(
        Action.UPDATE,
        "old",
        PlanReason.SPEC_CHANGED,
        fields=(
            field("aliases", [f"alias-{n:03}" for n in range(20)], [f"alias-{n:03}" for n in range(1, 21)]),
            field("description", "x" * 500 + "before" + "y" * 500, "x" * 500 + "after" + "y" * 500),
            field("policy.document", POLICY, POLICY.replace("kms:*", "kms:Encrypt")),
            field("policies.added.document", None, '{"Statement": []}'),
            field("policies.formatted.document", LONG_POLICY, LONG_POLICY.replace('":', '": ')),
            field("policies.twice.document", '{"a": "b", "a": "' + "c" * 100 + '"}', '{"a": "' + "c" * 100 + '"}'),
            field("policies.huge.document", "\n".join("abcdefgh" * 10), "\n".join("ijklmnop" * 10)),
            field("pkcs11.pin", "(sensitive)", "(sensitive)", sensitive=True),
            field("keyId", "k", known=False),
        ),
        unchanged_fields=1,
    ),
)
LARGE = plan(
    *(create(f"key-{number:05}", fields=()) for number in range(10_000)),
    *(
        change(Action.SCHEDULE_DELETION, f"old-{number}", PlanReason.REMOVED_FROM_SET, window_days=7)
        for number in range(3)
    ),
)


OWNERSHIP = msgspec.structs.replace(
    plan(
        change(
            Action.ADOPT,
            "found",
            PlanReason.ADOPTED,
            fields=(FieldPlan(path="tags.team", before="a", after="b"),),
            unchanged_fields=4,
        ),
        change(
            Action.UPDATE,
            "new",
            PlanReason.MOVED,
            fields=(FieldPlan(path="metadata.name", before="old", after="new"),),
            unchanged_fields=6,
        ),
        change(
            Action.UPDATE,
            "shared",
            PlanReason.SPEC_CHANGED,
            message="description is taken from spec set platform",
            fields=(FieldPlan(path="description", before="theirs", after="mine"),),
        ),
        change(
            Action.UPDATE,
            "stated",
            PlanReason.OWNERSHIP_CHANGED,
            message="the set states enabled from now on, as it is",
            unchanged_fields=6,
        ),
        change(
            Action.UPDATE,
            "theirs",
            PlanReason.RELEASED,
            message="it belongs to spec set platform; only the fields that this set states are let go of",
            fields=(FieldPlan(path="tags.cost", before="7"),),
        ),
        change(
            Action.FORGET,
            "kept",
            PlanReason.REMOVED_FROM_SET,
            message="management: keep-on-delete; it stays as it is",
        ),
    ),
    targets=("Key/found", "Key/kept"),
)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("every_action", EVERY_ACTION),
        ("ownership", OWNERSHIP),
        ("every_obstacle", EVERY_OBSTACLE),
        ("values", VALUES),
        ("large", LARGE),
        ("no_changes", plan(unchanged=3)),
        ("one_create", plan(create())),
    ],
)
def test_a_plan_reads_as_its_golden_file(name: str, shown: Plan) -> None:
    _compare(name, text(report.plan_lines(shown)))


def test_a_table_and_a_description_read_as_their_golden_files() -> None:
    refused = [
        RefusedUse(principal="user/web", operation="Decrypt", count=1, last_at=NOW - timedelta(hours=5)),
        RefusedUse(principal="role/billing", operation="Decrypt", count=1200, last_at=NOW - timedelta(minutes=2)),
    ]
    unreachable = condition(
        ConditionType.SYNCED, ConditionStatus.FALSE, Reason.STORE_UNREACHABLE, "no answer for 2 s", generation=2
    )
    stale = condition(ConditionType.SYNCED, ConditionStatus.TRUE, Reason.UP_TO_DATE, generation=1)
    items = [
        key(),
        key("new", conditions=(), aliases=()),
        key("stale", conditions=(stale, READY), enabled=False, aliases=("a", "b", "c", "d")),
        key("unreachable", conditions=(unreachable, READY), key_store="hsm-a"),
        key("going", deletion=deletion()),
    ]
    parts = [
        *report.table_lines(Kind.KEY, items, NOW),
        Line(""),
        *report.table_lines(Kind.KEY_STORE, [key_store()], NOW),
        Line(""),
        *report.table_lines(Kind.PRINCIPAL, [principal()], NOW),
        Line(""),
        *report.table_lines(Kind.XKS_PROXY, [xks_proxy()], NOW),
    ]
    _compare("tables", text(parts))
    described = [
        report.describe_lines(key("going", conditions=(stale, unreachable), deletion=deletion()), NOW, refused),
        report.describe_lines(key("new", conditions=(), policy=None), NOW),
        report.describe_lines(key_store(), NOW),
        report.describe_lines(principal(), NOW),
        report.describe_lines(xks_proxy(), NOW),
    ]
    _compare("descriptions", "\n".join(text(lines) for lines in described))


def _compare(name: str, shown: str) -> None:
    compare(RULES / f"{name}.txt", shown)


def test_an_empty_plan_says_what_is_as_declared() -> None:
    assert text(report.plan_lines(plan(unchanged=3))) == (
        "No changes. Spec set quickstart is as declared (3 objects).\n"
    )


def test_the_legend_names_only_symbols_in_use() -> None:
    legend = list(report.plan_lines(plan(create())))[1].text
    assert legend.strip() == "+ create"


def test_the_counts_line_leaves_out_what_is_rare_and_absent() -> None:
    counts = Counts(create=3, update=1, schedule_deletion=1, blocked=1)
    assert report.counts_line(counts).text == ("Plan: 3 to create, 1 to update, 1 to schedule for deletion. 1 blocked.")
    assert report.counts_line(Counts(create=1, delete=2)).text == (
        "Plan: 1 to create, 0 to update, 0 to schedule for deletion, 2 to delete."
    )


def test_a_large_plan_shows_the_first_hundred_of_each_action_and_says_how_many_are_left() -> None:
    lines = [line.text for line in report.plan_lines(LARGE)]
    assert "… and 9,900 more to create (use --json for all)" in lines
    assert sum(line.startswith("+ key ") for line in lines) == 100
    assert sum(line.startswith("- key ") for line in lines) == 3


def test_two_hundred_changes_are_all_shown() -> None:
    lines = report.plan_lines(plan(*(create(f"key-{number}") for number in range(200))))
    assert sum(line.text.startswith("+ key ") for line in lines) == 200


def test_a_sensitive_value_is_never_shown() -> None:
    secret = "hunter2"
    for before, after in ((None, secret), (secret, None), (secret, secret + "!")):
        shown = text(
            report.plan_lines(plan(change(Action.UPDATE, "a", fields=(field("pin", before, after, sensitive=True),))))
        )
        assert secret not in shown
        assert "(sensitive value" in shown
    assert "1234-secret" not in text(report.describe_lines(key_store(), NOW))


def test_a_shortened_difference_still_shows_where_values_differ() -> None:
    before, after = "a" * 3000 + "X" + "b" * 3000, "a" * 3000 + "Y" + "b" * 3000
    shown = text(report.plan_lines(plan(change(Action.UPDATE, "a", fields=(field("description", before, after),)))))
    old, new = shown.split(" -> ")
    assert "X" in old
    assert "Y" in new
    assert len(shown) < 1000


def test_a_number_that_became_a_string_is_not_called_the_same_json() -> None:
    before, after = LONG_POLICY.replace('"*"}]', "5}]"), LONG_POLICY.replace('"*"}]', '"5"}]')
    changed = field("policy.document", before, after)
    shown = text(report.plan_lines(plan(change(Action.UPDATE, "a", fields=(changed,)))))
    assert '-      "Resource": 5' in shown
    assert '+      "Resource": "5"' in shown


def test_names_that_stand_twice_in_a_policy_are_shown_as_they_are() -> None:
    policy = '{"Effect": "Deny", ' + " " * 100 + '"Effect": "Allow"}'
    shown = text(report.plan_lines(plan(change(Action.CREATE, "a", fields=(field("policy.document", None, policy),)))))
    assert "Deny" in shown
    assert "Allow" in shown


@given(st.text(st.characters(codec=None), max_size=60), st.text(max_size=60))
def test_no_text_of_a_server_reaches_a_terminal_unescaped(one: str, two: str) -> None:
    shown = plan(
        change(Action.UPDATE, one, fields=(field(one, two, one), field("b", one + "\n" + two, two + "\n\n"))),
        change(Action.CREATE, two, fields=(field(two, None, [one, two]),), message=one),
        blocked(two, PlanReason.PROTECTED, one),
    )
    for line in report.plan_lines(shown):
        assert line.text.isprintable()


def test_escapes_colours_and_direction_marks_are_written_out() -> None:
    shown = Line("a\x1b[31mred\x07 \u202eright\u2066 \x9b2J\r\n", Style.PLAIN)
    assert shown.text == "a\\x1b[31mred\\x07 \\u202eright\\u2066 \\x9b2J\\r\\n"


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=45), "45s"),
        (timedelta(minutes=5, seconds=59), "5m"),
        (timedelta(hours=7), "7h"),
        (timedelta(days=3, hours=23), "3d"),
        (timedelta(days=800), "800d"),
    ],
)
def test_ages_are_short(ago: timedelta, shown: str) -> None:
    assert report.age(NOW - ago, NOW) == shown


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (timedelta(days=6, hours=3, minutes=59), "6d 3h"),
        (timedelta(hours=5, minutes=55), "5h 55m"),
        (timedelta(minutes=25, seconds=59), "25m"),
        (timedelta(seconds=30), "less than 1m"),
        (timedelta(0), "due now"),
        (timedelta(days=-1), "due now"),
    ],
)
def test_time_left_is_never_rounded_up(left: timedelta, shown: str) -> None:
    assert report.time_left(NOW + left, NOW) == shown


def test_a_key_that_is_disabled_or_pending_deletion_is_shown_so_before_the_reconciler_has_looked() -> None:
    assert report.shown_state(key(enabled=False)) == "Disabled"
    assert report.shown_state(key(deletion=deletion())) == "PendingDeletion"
    assert report.shown_state(key(conditions=(SYNCED,))) == "Creating"


def test_progress_says_how_far_and_why_not() -> None:
    problem = ObjectProblem(kind=Kind.KEY_STORE, name="hsm-a", reason="StoreUnreachable", message="no answer")
    progress = Progress(spec_set="quickstart", total=10, pending=3, problems=(problem,))
    assert report.progress_line(progress, 10.4).text == "Reconciling: 7 of 10 ... [10s elapsed]"
    assert report.progress_line(progress, 1.0, pending_before=10).text == "Reconciling: 7 of 10 ... [1s elapsed]"
    text = "Reconciling: 7 of 10 ... [10s elapsed, 0.7 per second, 4s left]"
    assert report.progress_line(progress, 10.0, pending_before=10).text == text
    many = msgspec.structs.replace(progress, total=100_000, pending=40_000)
    text = "Reconciling: 60,000 of 100,000 ... [30s elapsed, 2,000 per second, 20s left]"
    assert report.progress_line(many, 30.0, pending_before=100_000).text == text
    assert report.problem_line(problem).text == "key store hsm-a: StoreUnreachable: no answer"
    assert report.applied_line(Counts(create=2, blocked=1)).text == "Applied: 2 created."
