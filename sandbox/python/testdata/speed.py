# Everyday code, timed: the least of several runs of each part, in milliseconds.
import decimal, hashlib, json, math, random, re, time


def fib(n=22):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def int_loop():
    s = 0
    for i in range(200_000):
        s += i * i % 7
    return s


def float_loop():
    x = 0.0
    for i in range(1, 150_000):
        x += 1.0 / i * 0.5
    return x


rng = random.Random(1)
data = {"rows": [{"id": i, "name": "n%d" % i, "v": i / 3, "tags": ["a", "b", "c"]} for i in range(500)]}
text = json.dumps(data)
prose = "The quick brown fox, aged 12, jumps over 3 lazy dogs. " * 300
floats = [rng.random() for _ in range(50_000)]
block = bytes(range(256)) * 1000
large, room = block * 20, bytearray(block * 20)


def memcpy():
    room[:] = large


def decimals():
    x = decimal.Decimal(1)
    for i in range(1, 400):
        x = x * decimal.Decimal(i) / decimal.Decimal(i + 1) + 1
    return x


def dicts():
    d = {}
    for i in range(50_000):
        d[i % 1000] = d.get(i % 1000, 0) + i
    return sum(d.values())


def formatting():
    return sum(len(f"{i:>8d} {i / 7:.3f} {'x' * (i % 5)}") for i in range(30_000))


class Point:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x = x
        self.y = y

    def plus(self, o):
        return Point(self.x + o.x, self.y + o.y)


def objects():
    p, q = Point(0, 0), Point(1, 2)
    for _ in range(40_000):
        p = p.plus(q)
    return p.x


def queens(n=6):
    def place(row, cols, up, down):
        if row == n:
            return 1
        return sum(place(row + 1, cols | {c}, up | {row + c}, down | {row - c})
                   for c in range(n) if c not in cols and row + c not in up and row - c not in down)

    return place(0, frozenset(), frozenset(), frozenset())


parts = {
    "fib": fib, "int loop": int_loop, "float loop": float_loop, "json dumps": lambda: json.dumps(data), "json loads": lambda: json.loads(text),
    "re findall": lambda: re.findall(r"(\w+) (\d+)|\b[A-Z]\w+", prose), "sort": lambda: sorted(floats), "decimal": decimals,
    "bigint": lambda: str(math.factorial(900)), "dict": dicts, "formatting": formatting, "objects": objects, "queens": queens,
    "sha256": lambda: hashlib.sha256(block).digest(), "memcpy": memcpy,
}
for name, part in parts.items():
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        part()
        best = min(best, time.perf_counter() - start)
    print(f"{best * 1000:.4f} {name}")
