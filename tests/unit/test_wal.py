"""Which moments of a database can be recovered from what was received of its WAL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deploy.backups import wal
from deploy.backups.wal import Asked, Receiving, Stretch
from deploy.core.errors import Refused

SIZE = 16 * 1024 * 1024
DAY = "2026-11-30T"


def segment(place: int) -> str:
    """The name of a segment on the first timeline."""
    return f"00000001{place // 256:08X}{place % 256:08X}"


def stretch(
    *places: int,
    name: str = "000001",
    server: str = "7",
    until: str = "12:00:00",
    lsn: int = 0,
    bases: str = "10:00:00=2",
) -> list[str]:
    """What docker/backup/held prints of a stretch; the last segment is not complete."""
    end = lsn or places[-1] * SIZE + 100
    pairs = [one.split("=") for one in bases.split()]
    return [
        f"stretch {name} {server} {DAY}{until}.000000Z {end // 2**32:X}/{end % 2**32:X}",
        *(f"base {DAY}{time}.500000Z {segment(int(first))}" for time, first in pairs),
        *(f"wal {segment(place)}{'.partial' if place == places[-1] else ''} {SIZE}" for place in places),
    ]


def held(*lines: list[str]) -> tuple[Stretch, ...]:
    """Read stretches."""
    return wal.read("\n".join(line for one in lines for line in one))


def at(time: str) -> Asked:
    """A moment of the day."""
    return Asked(datetime.fromisoformat(f"{DAY}{time}+00:00"))


def test_the_newest_base_backup_that_ended_before_the_moment_is_chosen() -> None:
    stretches = held(stretch(1, 2, 3, 4, bases="10:00:00=2 11:00:00=4"))
    chosen = wal.choose(stretches, at("10:59:59"), "app1")
    assert (chosen.stretch, chosen.base) == ("000001", f"{DAY}10:00:00.500000Z")
    assert chosen.target == "2026-11-30 10:59:59.000000+00"
    assert wal.choose(stretches, at("11:00:01"), "app1").base.startswith(f"{DAY}11")
    assert wal.choose(stretches, Asked(None), "app1").target == "end"


@pytest.mark.parametrize("time", ["10:00:00.4", "09:00:00", "12:00:00.1"], ids=["at its end", "before", "after"])
def test_a_moment_that_is_not_held_is_refused_with_what_is(time: str) -> None:
    with pytest.raises(Refused) as refused:
        wal.choose(held(stretch(2, 3)), at(time), "app1")
    assert refused.value.slug == "moment-not-held"
    assert "000001: 2026-11-30 10:00:00.5 UTC to 2026-11-30 12:00:00 UTC" in refused.value.what
    with pytest.raises(Refused, match="nothing yet"):
        wal.choose((), at(time), "app1")


def test_before_a_gap_nothing_counts_and_the_segment_is_named() -> None:
    (one,) = held(stretch(2, 3, 5, 6, bases="10:00:00=2 11:00:00=5"))
    assert one.gap == segment(4)
    assert wal.choose([one], at("11:30:00"), "app1").base.startswith(f"{DAY}11")
    with pytest.raises(Refused, match=f"segment {segment(4)} lacks"):
        wal.choose([one], at("10:30:00"), "app1")


def test_a_segment_that_was_cut_off_is_a_gap() -> None:
    lines = [line.replace(str(SIZE), "4096") if segment(3) in line else line for line in stretch(2, 3, 4)]
    assert held(lines)[0].gap == segment(3)


def test_where_the_last_segments_are_gone_nothing_is_held() -> None:
    (one,) = held(stretch(2, 3, lsn=4 * SIZE + 1))
    assert (one.gap, one.usable) == (segment(4), ())
    assert held(stretch(2, 3, lsn=4 * SIZE))[0].gap == "", "it ends where the next one would begin"


def test_a_stretch_without_any_wal_holds_nothing() -> None:
    lines = [line for line in stretch(2, 3) if not line.startswith("wal")]
    (one,) = held(lines)
    assert one.usable == ()
    assert one.words == "000001: nothing until 2026-11-30 12:00:00 UTC: there is no WAL"
    assert wal.choose(held(lines, stretch(2, 3, name="000002")), at("11:00:00"), "app1").stretch == "000002"


def test_a_moment_can_be_typed_as_it_is_shown() -> None:
    moment = datetime(2026, 11, 23, 10, 15, 0, 500000, tzinfo=UTC)
    assert wal.asked_for(wal.written(moment)) == Asked(moment)


def test_segments_are_counted_across_the_parts_of_their_names() -> None:
    assert held(stretch(254, 255, 256, 257, bases="10:00:00=254"))[0].gap == ""


def test_a_base_backup_counts_once_all_that_it_needs_was_flushed() -> None:
    (one,) = held(stretch(2, 3, until="09:59:59"))
    assert one.words == "000001: nothing until 2026-11-30 09:59:59 UTC: there is no base backup"


def test_the_last_commit_of_several_servers_is_asked_for_by_stretch() -> None:
    stretches = held(stretch(2, 3), stretch(2, name="000002", server="8", bases="11:30:00=2"))
    with pytest.raises(Refused, match="several servers") as refused:
        wal.choose(stretches, wal.asked_for("latest"), "app1")
    assert refused.value.then == "--at=latest:000001, or another"
    assert wal.choose(stretches, wal.asked_for("latest:000001"), "app1").stretch == "000001"
    assert wal.choose(stretches, at("10:30:00"), "app1").stretch == "000001"
    with pytest.raises(Refused, match="last commit of 000009"):
        wal.choose(stretches, wal.asked_for("latest:000009"), "app1")
    same = held(stretch(2, 3), stretch(9, name="000002", bases="11:30:00=9"))
    assert wal.choose(same, wal.asked_for("latest"), "app1").stretch == "000002"


def test_a_moment_is_utc_unless_it_says_otherwise() -> None:
    moment = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
    assert wal.asked_for("2026-11-23 10:15:00") == wal.asked_for("2026-11-23T11:15:00+01:00") == Asked(moment)
    for wrong in ("yesterday", "2026-11-23", "2026-W48", "9999-12-31 23:59:59-01:00"):
        with pytest.raises(Refused, match="is no time"):
            wal.asked_for(wrong)


def test_what_status_says_of_what_is_received() -> None:
    words = Receiving(held(stretch(2, 3)), None, healthy=False).words
    assert words.startswith(
        "point in time: 2026-11-30 10:00:00.5 UTC to 2026-11-30 12:00:00 UTC, on the host of the data"
    )
    assert words.endswith("; nothing is received now: inv logs wal says why")
    away = wal.shipped("shipped 1796022000\n")
    assert (
        Receiving((), away, healthy=True).words == "point in time: nothing yet, off-site until 2026-11-30 07:00:00 UTC"
    )
    assert wal.shipped("") is None
