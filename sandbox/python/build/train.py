"""Does what cells typically do, for the profile that the interpreter is optimised with."""
import ast
import collections
import csv
import dataclasses
import datetime
import decimal
import fractions
import hashlib
import heapq
import io
import itertools
import json
import math
import random
import re
import statistics
import string
import textwrap
import traceback

random.seed(1)


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def primes(n):
    sieve = bytearray([1]) * (n + 1)
    for i in range(2, math.isqrt(n) + 1):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(range(i * i, n + 1, i)))
    return [i for i in range(2, n + 1) if sieve[i]]


def queens(n, row=0, columns=(), up=(), down=()):
    if row == n:
        return 1
    return sum(queens(n, row + 1, columns + (c,), up + (row + c,), down + (row - c,)) for c in range(n)
               if c not in columns and row + c not in up and row - c not in down)


@dataclasses.dataclass(order=True)
class Point:
    x: float
    y: float

    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)

    @property
    def length(self):
        return (self.x**2 + self.y**2) ** 0.5


class Stack:
    __slots__ = ("items",)

    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()


def numbers():
    total = 0
    for i in range(200_000):
        total += i * i % 7
        if total & 1:
            total ^= i
    x = 0.5
    for i in range(100_000):
        x = 3.7 * x * (1 - x) + math.sin(x) * 1e-9
    matrix = [[random.random() for _ in range(40)] for _ in range(40)]
    [[sum(a * b for a, b in zip(row, column)) for column in zip(*matrix)] for row in matrix]
    str(math.factorial(1500)), pow(3, 10**5, 10**9 + 7), 7**3000 // 3**2000
    decimal.getcontext().prec = 50
    sum(decimal.Decimal(i).sqrt() for i in range(1, 800))
    sum(fractions.Fraction(1, i) for i in range(1, 300))
    statistics.mean([1.5] * 500), statistics.stdev(range(500))
    collatz = max(range(1, 8000), key=lambda n: sum(1 for _ in iter(lambda: None, None)) if n < 0 else steps(n))
    return total, x, collatz


def steps(n):
    count = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count


def containers():
    counts = collections.Counter(random.randrange(500) for _ in range(50_000))
    groups = collections.defaultdict(list)
    for key, value in counts.items():
        groups[value % 10].append(key)
    data = [random.random() for _ in range(50_000)]
    data.sort()
    sorted(groups.items(), key=lambda item: -len(item[1]))
    heap = []
    for value in data[::7]:
        heapq.heappush(heap, value)
    while heap:
        heapq.heappop(heap)
    queue = collections.deque(range(1000))
    for _ in range(20_000):
        queue.append(queue.popleft())
    memo = {}
    for i in range(60_000):
        memo[i, i % 17] = str(i)
    set(memo) & {(i, i % 17) for i in range(0, 60_000, 3)}
    list(itertools.permutations(range(7))), list(itertools.combinations(range(14), 5))
    graph = {i: [(i * 7 + j) % 3000 for j in range(4)] for i in range(3000)}
    seen, todo = {0}, collections.deque([0])
    while todo:
        for n in graph[todo.popleft()]:
            if n not in seen:
                seen.add(n)
                todo.append(n)
    table = [[0] * 300 for _ in range(300)]
    a, b = "".join(random.choices("abcd", k=299)), "".join(random.choices("abcd", k=299))
    for i in range(1, 300):
        for j in range(1, 300):
            table[i][j] = table[i - 1][j - 1] + 1 if a[i - 1] == b[j - 1] else max(table[i - 1][j], table[i][j - 1])


def text():
    words = ["".join(random.choices(string.ascii_lowercase, k=random.randrange(2, 9))) for _ in range(5000)]
    prose = " ".join(words)
    re.findall(r"\b[a-f]\w+(?:ing|ed|s)?\b", prose), re.sub(r"([aeiou])\1*", lambda m: m[0].upper(), prose)
    re.split(r"\s+", prose), textwrap.fill(prose, 70), prose.title().swapcase().replace("a", "b").split("e")
    "".join(f"{i:>6} {w!r:10} {i / 7:.3f}\n" for i, w in enumerate(words))
    "%s-%d" % ("x", 3), "{:,}".format(10**9), prose.encode().decode()
    objects = [{"id": i, "name": w, "tags": [w[:2], w[2:]], "score": i / 3, "ok": i % 2 == 0, "none": None} for i, w in enumerate(words)]
    json.loads(json.dumps(objects)), json.dumps(objects[:200], indent=2)
    file = io.StringIO()
    csv.writer(file).writerows([o["id"], o["name"], o["score"]] for o in objects)
    list(csv.DictReader(io.StringIO("a,b,c\n" + file.getvalue())))
    hashlib.sha256(prose.encode() * 4).hexdigest()
    day = datetime.datetime(2024, 2, 28)
    [(day + datetime.timedelta(hours=7 * i)).strftime("%Y-%m-%d %H:%M") for i in range(2000)]
    [datetime.datetime.fromisoformat("2024-02-28T10:11:12") for _ in range(1000)]


def objects():
    points = [Point(i, -i) for i in range(5000)]
    total = Point(0, 0)
    for p in points:
        total += p
    sorted(points), [p.length for p in points], max(points, key=lambda p: p.length)
    stack = Stack()
    for i in range(50_000):
        stack.push(i)
        if i % 3 == 0:
            stack.pop()

    def squares(n):
        for i in range(n):
            yield i * i

    sum(squares(50_000)), dict(zip(squares(1000), squares(1000)))
    for i in range(3000):
        try:
            {}[i] if i % 2 else int("x")
        except (KeyError, ValueError) as e:
            if i % 100 == 0:
                traceback.format_exc()
    with io.StringIO() as f:
        for i in range(20_000):
            print(i, i / 2, "x", file=f)
    for _ in range(30):
        code = "\n".join(f"def f{i}(a, b={i}):\n    return [x * b for x in a if x > {i}] + [str(a)]" for i in range(20))
        exec(compile(ast.parse(code), "cell", "exec"), {})


for _ in range(6):
    fibonacci(20), primes(100_000), queens(6)
    numbers(), containers(), text(), objects()
