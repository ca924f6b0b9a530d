"""Dates and times: days between dates, working days, and time zones with their summer times."""

# /// chorale
# {
#   "name": "dates",
#   "version": "1.0.0",
#   "title": "Dates and time zones",
#   "description": "Counts days and working days, moves dates, and converts times between time zones. Dates are YYYY-MM-DD, times YYYY-MM-DDTHH:MM, zones names such as Europe/Berlin.",
#   "license": "Apache-2.0",
#   "tools": [
#     {
#       "name": "between",
#       "description": "Counts the days, weeks and working days (Monday to Friday) from one date to another. The first day counts, the last does not.",
#       "annotations": {"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
#       "input_schema": {
#         "type": "object",
#         "properties": {
#           "from": {"type": "string"},
#           "to": {"type": "string"},
#           "holidays": {"type": "array", "items": {"type": "string"}, "maxItems": 1000, "description": "dates that are no working days"}
#         },
#         "required": ["from", "to"],
#         "additionalProperties": false
#       },
#       "output_schema": {
#         "type": "object",
#         "properties": {
#           "days": {"type": "integer"}, "weeks": {"type": "number"}, "working_days": {"type": "integer"},
#           "from_weekday": {"type": "string"}, "to_weekday": {"type": "string"}
#         },
#         "required": ["days", "weeks", "working_days"]
#       },
#       "examples": [
#         {"name": "a leap year", "input": {"from": "2028-02-01", "to": "2028-03-01"},
#          "output": {"days": 29, "weeks": 4.14, "working_days": 21, "from_weekday": "Tuesday", "to_weekday": "Wednesday"}},
#         {"name": "backwards", "input": {"from": "2026-01-08", "to": "2026-01-01"}, "contains": "\"days\": -7"},
#         {"name": "with holidays", "input": {"from": "2026-12-21", "to": "2026-12-28", "holidays": ["2026-12-25", "2026-12-26"]}, "contains": "\"working_days\": 4"},
#         {"name": "no date", "input": {"from": "2026-02-30", "to": "2026-03-01"}, "error": "from is \"2026-02-30\""}
#       ]
#     },
#     {
#       "name": "shift",
#       "description": "Adds years, months, weeks, days or working days to a date; negative numbers go back. The last day of a month stays within it.",
#       "annotations": {"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
#       "input_schema": {
#         "type": "object",
#         "properties": {
#           "date": {"type": "string"},
#           "years": {"type": "integer", "minimum": -5000, "maximum": 5000},
#           "months": {"type": "integer", "minimum": -50000, "maximum": 50000},
#           "weeks": {"type": "integer", "minimum": -100000, "maximum": 100000},
#           "days": {"type": "integer", "minimum": -1000000, "maximum": 1000000},
#           "working_days": {"type": "integer", "minimum": -10000, "maximum": 10000}
#         },
#         "required": ["date"],
#         "additionalProperties": false
#       },
#       "examples": [
#         {"name": "the end of a month", "input": {"date": "2026-01-31", "months": 1}, "text": "2026-02-28 (Saturday)"},
#         {"name": "over a weekend", "input": {"date": "2026-01-02", "working_days": 1}, "text": "2026-01-05 (Monday)"},
#         {"name": "back", "input": {"date": "2026-01-05", "working_days": -1}, "text": "2026-01-02 (Friday)"},
#         {"name": "before time", "input": {"date": "2026-01-05", "years": -3000}, "error": "outside of the calendar"}
#       ]
#     },
#     {
#       "name": "convert",
#       "description": "Says what a time in one zone is in others, with the offsets of that day.",
#       "annotations": {"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
#       "input_schema": {
#         "type": "object",
#         "properties": {
#           "time": {"type": "string", "description": "local time in the zone, or with an offset"},
#           "zone": {"type": "string"},
#           "to": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 20}
#         },
#         "required": ["time", "zone", "to"],
#         "additionalProperties": false
#       },
#       "examples": [
#         {"name": "summer time", "input": {"time": "2026-07-01T09:00", "zone": "America/New_York", "to": ["Europe/Berlin", "Asia/Kolkata"]},
#          "text": "2026-07-01 09:00 UTC-04:00 America/New_York (Wednesday)\n2026-07-01 15:00 UTC+02:00 Europe/Berlin (Wednesday)\n2026-07-01 18:30 UTC+05:30 Asia/Kolkata (Wednesday)"},
#         {"name": "a time that the clocks skip", "input": {"time": "2026-03-29T02:30", "zone": "Europe/Berlin", "to": ["UTC"]}, "error": "there is no 2026-03-29 02:30"},
#         {"name": "no zone", "input": {"time": "2026-07-01T09:00", "zone": "Europe/Atlantis", "to": ["UTC"]}, "error": "Europe/Atlantis"}
#       ]
#     }
#   ]
# }
# ///

import calendar
import json
import sys
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo


class BadArguments(Exception):
    """What the model should know to try again with other arguments."""


def parse_date(text, name):
    try:
        return date.fromisoformat(text)
    except ValueError as e:
        raise BadArguments(f'{name} is "{text}", want a date YYYY-MM-DD: {e}') from None


def zone(name):
    try:
        return ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        pass
    except KeyError:
        pass
    raise BadArguments(f'"{name}" is no time zone, want a name such as Europe/Berlin or UTC')


def working(day, holidays=()):
    return day.weekday() < 5 and day not in holidays


def between(args):
    first, last = parse_date(args["from"], "from"), parse_date(args["to"], "to")
    holidays = {parse_date(h, "holidays") for h in args.get("holidays", ())}
    sign = 1 if first <= last else -1
    start, end = sorted((first, last))
    days = (end - start).days
    full, rest = divmod(days, 7)
    count = full * 5 + sum(working(start + timedelta(full * 7 + i)) for i in range(rest))
    count -= sum(start <= h < end and working(h) for h in holidays)
    return {
        "days": sign * days, "weeks": round(sign * days / 7, 2), "working_days": sign * count,
        "from_weekday": f"{first:%A}", "to_weekday": f"{last:%A}",
    }


def shift(args):
    day = parse_date(args["date"], "date")
    try:
        months = day.year * 12 + day.month - 1 + args.get("years", 0) * 12 + args.get("months", 0)
        year, month = divmod(months, 12)
        if not 1 <= year <= 9999:
            raise OverflowError
        day = date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
        day += timedelta(days=args.get("days", 0) + 7 * args.get("weeks", 0))
        left = args.get("working_days", 0)
        step = timedelta(1 if left > 0 else -1)
        while left:
            day += step
            left -= step.days if working(day) else 0
    except OverflowError:
        raise BadArguments("that is outside of the calendar, which has the years 1 to 9999") from None
    return f"{day} ({day:%A})"


def convert(args):
    try:
        when = datetime.fromisoformat(args["time"])
    except ValueError as e:
        raise BadArguments(f'time is "{args["time"]}", want YYYY-MM-DDTHH:MM: {e}') from None
    here = zone(args["zone"])
    if when.tzinfo is None:
        when = when.replace(tzinfo=here)
        back = when.astimezone(timezone.utc).astimezone(here)
        if back.replace(tzinfo=None) != when.replace(tzinfo=None):
            raise BadArguments(f"there is no {when:%Y-%m-%d %H:%M} in {args['zone']}: the clocks skip it")
    lines = []
    for name in [args["zone"], *args["to"]]:
        there = when.astimezone(zone(name))
        lines.append(f"{there:%Y-%m-%d %H:%M} UTC{there:%:z} {name} ({there:%A})")
    return "\n".join(lines)


tools = {"between": between, "shift": shift, "convert": convert}

if __name__ == "__main__":
    try:
        result = tools[sys.argv[1]](json.load(sys.stdin))
    except BadArguments as e:
        print(e, file=sys.stderr)
        sys.exit(2)
    print(result if isinstance(result, str) else json.dumps(result))
