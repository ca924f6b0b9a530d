"""Where an axis has its ticks and what they say: for numbers, logarithms, dates and categories.

A locator has ticks(lo, hi, room), room being about how many fit; a formatter is called with (value, position). Dates
are numbers of days since 1970-01-01 UTC.
"""

from datetime import date, datetime, timedelta, timezone
from math import ceil, floor, log10

_EPOCH = datetime(1970, 1, 1)


def date2num(value):
    """Days since 1970-01-01 of a date or datetime, or of a list of them."""
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(timezone.utc).replace(tzinfo=None)
        return (value - _EPOCH).total_seconds() / 86400
    if isinstance(value, date):
        return float((value - _EPOCH.date()).days)
    if hasattr(value, "__iter__"):
        return [date2num(v) for v in value]
    return float(value)


def num2date(value, tz=None):
    """The datetime of a number of days since 1970-01-01 (UTC), or of a list of them."""
    if hasattr(value, "__iter__"):
        return [num2date(v, tz) for v in value]
    return datetime(1970, 1, 1, tzinfo=tz or timezone.utc) + timedelta(microseconds=round(value * 86400e6))


def _when(value):
    # Years 1 to 9999 are all that datetime has; an axis may reach a little beyond its data.
    return _EPOCH + timedelta(seconds=round(min(max(value, -719000), 2932000) * 86400))


class Locator:
    """Base of the locators."""

    def ticks(self, lo, hi, room):
        """Positions between lo and hi."""
        raise NotImplementedError

    def minor(self, lo, hi):
        """Positions of unlabelled ticks."""
        return []

    def tick_values(self, vmin, vmax):
        """Positions between vmin and vmax at the usual density."""
        return self.ticks(vmin, vmax, 9)


def _multiples(step, lo, hi, offset=0.0):
    first, last = ceil((lo - offset) / step - 1e-9), floor((hi - offset) / step + 1e-9)
    if last - first > 1000:
        raise ValueError(
            f"a tick every {step:g} from {lo:g} to {hi:g} would be over a thousand ticks; choose a larger step")
    return [float(f"{i * step + offset:.12g}") for i in range(first, last + 1)]


class AutoLocator(Locator):
    """Steps of 1, 2, 2.5 or 5 times a power of ten."""

    def __init__(self, most=None, whole=False, steps=(1, 2, 2.5, 5, 10)):
        self.most, self.whole = most, whole
        self.steps = [s for s in steps if s >= 1] or [1, 2, 5, 10]

    def ticks(self, lo, hi, room):
        room = max(1, min(room, self.most or room))
        if not hi > lo:
            return [lo]
        raw = (hi - lo) / room
        if hi - lo < 1e-300:
            return [lo]
        power = floor(log10(raw))
        for exponent in (power, power + 1):
            for step in self.steps:
                value = step * 10.0 ** exponent
                if self.whole and (value < 1 or value != int(value)):
                    continue
                if value >= raw * (1 - 1e-9):
                    return _multiples(value, lo, hi)
        return _multiples(max(1.0, 10.0 ** (power + 1)), lo, hi)


class MaxNLocator(AutoLocator):
    """At most nbins intervals; integer=True keeps to whole numbers."""

    def __init__(self, nbins=None, integer=False, steps=(1, 2, 2.5, 5, 10), **ignored):
        super().__init__(None if nbins in (None, "auto") else int(nbins), integer, steps)


class MultipleLocator(Locator):
    """A tick at each multiple of base, moved by offset."""

    def __init__(self, base=1.0, offset=0.0):
        if not base > 0:
            raise ValueError(f"base is {base!r} and should be above 0")
        self.base, self.offset = float(base), float(offset)

    def ticks(self, lo, hi, room):
        return _multiples(self.base, lo, hi, self.offset)


class FixedLocator(Locator):
    """Ticks at given places."""

    def __init__(self, locs, nbins=None):
        self.locs = [date2num(v) for v in locs]

    def ticks(self, lo, hi, room):
        return list(self.locs)


class NullLocator(Locator):
    """No ticks."""

    def ticks(self, lo, hi, room):
        return []


class LinearLocator(Locator):
    """numticks ticks from end to end."""

    def __init__(self, numticks=11):
        self.n = int(numticks)

    def ticks(self, lo, hi, room):
        return [lo + (hi - lo) * i / max(self.n - 1, 1) for i in range(self.n)]


class AutoMinorLocator(Locator):
    """Unlabelled ticks that divide the distance of two labelled ones."""

    def __init__(self, n=None):
        self.n = n

    def divide(self, major, lo, hi):
        """The ticks between and beside the labelled ones."""
        if len(major) < 2:
            return []
        step = major[1] - major[0]
        n = self.n or (5 if round(step / 10 ** floor(log10(step)), 3) in (1, 5, 2.5) else 4)
        return [v for v in _multiples(step / n, lo, hi, major[0]) if all(abs(v - m) > step / n / 9 for m in major)]


class LogLocator(Locator):
    """Powers of a base; less than two of them in sight gives 2 and 5 times a power as well."""

    def __init__(self, base=10.0, subs=None, numticks=None):
        self.base = float(base)

    def _powers(self, lo, hi):
        b = log10(self.base)
        return ceil(log10(lo) / b - 1e-9), floor(log10(hi) / b + 1e-9)

    def ticks(self, lo, hi, room):
        first, last = self._powers(lo, hi)
        if last - first >= 1 or self.base != 10:
            every = max(1, ceil((last - first + 1) / max(room, 2)))
            return [self.base ** i for i in range(ceil(first / every) * every, last + 1, every)]
        for subs in ((1, 2, 5), (1, 2, 3, 4, 6, 8)):
            out = [s * 10.0 ** i for i in range(first - 1, last + 1) for s in subs if lo <= s * 10.0 ** i * (1 + 1e-9)
                   and s * 10.0 ** i <= hi * (1 + 1e-9)]
            if len(out) > 2:
                return out
        return AutoLocator().ticks(lo, hi, room)

    def minor(self, lo, hi):
        first, last = self._powers(lo, hi)
        if self.base != 10 or last - first > 12:
            return []
        return [s * 10.0 ** i for i in range(first - 1, last + 1) for s in range(2, 10) if lo <= s * 10.0 ** i <= hi]


class SymmetricalLogLocator(Locator):
    """Powers of ten on both sides of zero."""

    def __init__(self, linthresh=2.0):
        self.linthresh = linthresh

    def ticks(self, lo, hi, room):
        start = ceil(log10(self.linthresh) - 1e-9)
        top = floor(log10(max(abs(lo), abs(hi), 10 ** start)) + 1e-9)
        every = max(1, ceil(2 * (top - start + 1) / max(room, 3)))
        powers = [10.0 ** i for i in range(start, top + 1, every)]
        return [v for v in [-p for p in powers[::-1]] + [0.0] + powers if lo <= v <= hi]


_UNITS = ("year", "month", "day", "hour", "minute", "second")
_STEPS = [("second", n, n / 86400) for n in (1, 2, 5, 10, 15, 30)] + [("minute", n, n / 1440)
                                                                      for n in (1, 2, 5, 10, 15, 30)] + \
    [("hour", n, n / 24) for n in (1, 2, 3, 6, 12)] + [("day", n, n) for n in (1, 2, 4, 7, 14)] + \
    [("month", n, n * 30.44) for n in (1, 2, 3, 4, 6)] + \
    [("year", n, n * 365.25) for n in (1, 2, 4, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)]


class DateLocator(Locator):
    """A tick at each step of a unit, or at the steps that fit if unit is None."""

    def __init__(self, unit=None, step=1, among=None):
        self.unit, self.step, self.among = unit, max(1, int(step)), among
        self.used = unit

    def ticks(self, lo, hi, room):
        unit, step = self.unit, self.step
        if unit is None:
            for unit, step, days in _STEPS:
                if (hi - lo) / days <= room:
                    break
            self.used = unit
        else:
            step = self._bounded(unit, step, hi - lo)
        return [v for v in self._walk(unit, step, lo, hi) if lo - 1e-9 <= v <= hi + 1e-9]

    def _bounded(self, unit, step, span):
        days = next(d / n for u, n, d in _STEPS if u == unit)
        if span / (days * step) > 1000:
            raise ValueError(f"a tick every {step} {unit}s would be over a thousand ticks; choose a larger interval")
        return step

    def _walk(self, unit, step, lo, hi):
        start, end = _when(lo), _when(hi)
        out = []
        if unit in ("year", "month"):
            month = start.year * 12 + (start.month - 1 if unit == "month" else 0)
            jump = step * (12 if unit == "year" else 1)
            month -= month % jump
            while month // 12 <= min(end.year, 9998):
                if month >= 12 and (not self.among or month % 12 + 1 in self.among):
                    out.append(date2num(date(month // 12, month % 12 + 1, 1)))
                month += jump
            return out
        if unit == "day":
            # Week-long steps begin on Mondays, others count from the first of each month.
            day = floor(lo)
            while day <= hi:
                when = _when(day)
                if self.among is not None:
                    good = when.weekday() in self.among
                elif step % 7 == 0:
                    good = (day - 4) % step == 0
                else:
                    good = (when.day - 1) % step == 0 and (step == 1 or when.day + step / 2 <= 32)
                if good:
                    out.append(float(day))
                day += 1
            return out
        seconds = {"hour": 3600, "minute": 60, "second": 1}[unit] * step
        first = ceil(lo * 86400 / seconds - 1e-6)
        return [i * seconds / 86400 for i in range(first, floor(hi * 86400 / seconds + 1e-6) + 1)]


class DateFormatter:
    """Dates by a strftime format."""

    def __init__(self, fmt, tz=None):
        self.fmt = fmt

    def __call__(self, value, position=None):
        return _when(value).strftime(self.fmt)


class AutoDateFormatter:
    """Dates as exactly as the steps of a DateLocator need."""

    def __init__(self, locator):
        self.locator = locator

    def __call__(self, value, position=None):
        unit = getattr(self.locator, "used", None) or "day"
        when = _when(value)
        midnight = when.hour == when.minute == when.second == 0
        if unit in ("hour", "minute") and midnight:
            return when.strftime("%b %d")
        return when.strftime({"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%H:%M", "minute": "%H:%M",
                              "second": "%H:%M:%S"}[unit])


def number(value, digits=None):
    """A number as an axis shows it, with a true minus sign."""
    text = f"{value:.{digits}f}" if digits is not None else f"{value:g}"
    if float(text) == 0:
        text = text.replace("-", "")
    return text.replace("-", "−")


class ScalarFormatter:
    """Numbers with as many digits as tell the ticks apart; very large or small ones share a power of ten."""

    def __init__(self, useOffset=True, useMathText=True):
        self.digits, self.power, self.limits = 0, 0, (-5, 6)

    def set_locs(self, ticks):
        """Chooses digits and power for the ticks."""
        finite = [t for t in ticks if t]
        self.power = 0
        if not finite:
            self.digits = 0
            return
        largest = floor(log10(max(abs(t) for t in finite)) + 1e-9)
        if largest >= self.limits[1] or largest <= self.limits[0]:
            self.power = largest
        scaled = sorted(t / 10.0 ** self.power for t in ticks)
        gap = min((b - a for a, b in zip(scaled, scaled[1:]) if b > a), default=abs(scaled[0]) or 1.0)
        for digits in range(0, 12):
            if all(abs(round(t, digits) - t) < gap * 1e-3 for t in scaled):
                break
        self.digits = digits

    def set_scientific(self, on):
        """Turns shared powers of ten on or off."""
        self.limits = (-5, 6) if on else (-99, 99)

    def set_useOffset(self, on):
        """Accepted: ticks are never told as a distance from an offset."""

    def set_powerlimits(self, limits):
        """The powers of ten outside which one is shared."""
        self.limits = (limits[0], limits[1])

    def offset(self):
        """The shared power of ten, as text, or ''."""
        return "×10$^{%d}$" % self.power if self.power else ""

    def __call__(self, value, position=None):
        return number(value / 10.0 ** self.power, self.digits)


class LogFormatter:
    """Powers of ten as such; other numbers plainly."""

    def __init__(self, base=10.0):
        self.base, self.plain = float(base), False

    def set_locs(self, ticks):
        """Powers are written as such only where all ticks are powers."""
        powers = [log10(abs(t)) / log10(self.base) for t in ticks if t]
        self.plain = any(abs(p - round(p)) > 1e-6 for p in powers)

    def __call__(self, value, position=None):
        if value == 0:
            return "0"
        sign, size = ("−" if value < 0 else ""), abs(value)
        power = log10(size) / log10(self.base)
        if abs(power - round(power)) < 1e-6 and not (self.plain and 1e-4 < size < 1e6):
            return f"{sign}${self.base:g}^{{{round(power)}}}$"
        if 1e-4 < size < 1e6:
            return number(value)
        power = floor(log10(size))
        return f"{sign}${size / 10.0 ** power:g}\\times10^{{{power}}}$"


class FuncFormatter:
    """What a function of (value, position) returns."""

    def __init__(self, func):
        self.func = func

    def __call__(self, value, position=None):
        return str(self.func(value, position))


class StrMethodFormatter:
    """A format string with {x}, and {pos} for the position."""

    def __init__(self, fmt):
        self.fmt = fmt

    def __call__(self, value, position=None):
        return self.fmt.format(x=value, pos=position)


class FormatStrFormatter:
    """A format string with one %-directive."""

    def __init__(self, fmt):
        self.fmt = fmt

    def __call__(self, value, position=None):
        return self.fmt % value


class PercentFormatter:
    """Numbers as parts of xmax in per cent."""

    def __init__(self, xmax=100, decimals=None, symbol="%"):
        self.xmax, self.decimals, self.symbol = xmax, decimals, symbol or ""

    def __call__(self, value, position=None):
        return number(round(100 * value / self.xmax, 10), self.decimals) + self.symbol


class EngFormatter:
    """Numbers with the prefixes of units."""

    def __init__(self, unit="", places=None, sep=" "):
        self.unit, self.places, self.sep = unit, places, sep

    def __call__(self, value, position=None):
        power = 0 if value == 0 else min(max(floor(log10(abs(value)) / 3 + 1e-9), -5), 5)
        text = number(value / 1000.0 ** power, self.places)
        return f"{text}{self.sep if self.unit or power else ''}{'fpnµm kMGTP'[power + 5].strip()}{self.unit}"


class NullFormatter:
    """No labels."""

    def __call__(self, value, position=None):
        return ""


class FixedFormatter:
    """Given labels in order."""

    def __init__(self, seq):
        self.seq = [str(s) for s in seq]

    def __call__(self, value, position=None):
        return self.seq[position] if position is not None and position < len(self.seq) else ""
