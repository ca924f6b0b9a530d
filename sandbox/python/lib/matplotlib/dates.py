"""Dates on an axis."""

from plot.ticks import AutoDateFormatter, DateFormatter, DateLocator, date2num, num2date  # noqa: F401

MO, TU, WE, TH, FR, SA, SU = range(7)


def AutoDateLocator(minticks=None, maxticks=None, **ignored):
    """As many dates as fit."""
    return DateLocator()


def ConciseDateFormatter(locator, **ignored):
    """Dates as exactly as the locator's steps need."""
    return AutoDateFormatter(locator)


def YearLocator(base=1, month=1, day=1, **ignored):
    """A tick every so many years."""
    return DateLocator("year", base)


def MonthLocator(bymonth=None, bymonthday=1, interval=1, **ignored):
    """A tick every so many months, or in the months given."""
    among = None if bymonth is None else [bymonth] if isinstance(bymonth, int) else list(bymonth)
    return DateLocator("month", 1 if among else interval, among)


def WeekdayLocator(byweekday=MO, interval=1, **ignored):
    """A tick on a day of the week, Monday being 0."""
    among = [byweekday] if isinstance(byweekday, int) else list(byweekday)
    return DateLocator("day", 7 * interval) if among == [MO] else DateLocator("day", 1, among)


def DayLocator(bymonthday=None, interval=1, **ignored):
    """A tick every so many days."""
    return DateLocator("day", interval)


def HourLocator(byhour=None, interval=1, **ignored):
    """A tick every so many hours."""
    return DateLocator("hour", interval)


def MinuteLocator(byminute=None, interval=1, **ignored):
    """A tick every so many minutes."""
    return DateLocator("minute", interval)
