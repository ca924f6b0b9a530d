// Differences between two texts, line by line, or between two JSON values, path by path.

// /// chorale
// {
//   "name": "diff",
//   "version": "1.0.0",
//   "title": "Differences",
//   "description": "Compares two texts or two JSON values exactly, which is hard to do by reading.",
//   "license": "Apache-2.0",
//   "limits": {"timeout_ms": 5000},
//   "tools": [
//     {
//       "name": "texts",
//       "description": "Returns a unified diff of two texts. A side is the text itself, or file: a name below /in of a file that came with the request.",
//       "annotations": {"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
//       "input_schema": {
//         "type": "object",
//         "properties": {
//           "old": {"$ref": "#/$defs/side"},
//           "new": {"$ref": "#/$defs/side"},
//           "context": {"type": "integer", "minimum": 0, "maximum": 20, "description": "equal lines around changes, 3 without it"},
//           "ignore_space": {"type": "boolean", "description": "lines are equal that differ in spaces only"}
//         },
//         "required": ["old", "new"],
//         "additionalProperties": false,
//         "$defs": {"side": {"oneOf": [
//           {"type": "string"},
//           {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"], "additionalProperties": false}
//         ]}}
//       },
//       "examples": [
//         {"name": "one line", "input": {"old": "a\nb\nc\n", "new": "a\nB\nc\n"}, "text": "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"},
//         {"name": "two places", "input": {"old": "1\n2\n3\n4\n5\n6", "new": "0\n1\n2\n3\n4\n5", "context": 0}, "text": "@@ -0,0 +1,1 @@\n+0\n@@ -6,1 +6,0 @@\n-6"},
//         {"name": "spaces", "input": {"old": "a  b", "new": "a b", "ignore_space": true}, "text": "The texts are equal."},
//         {"name": "no such file", "input": {"old": {"file": "x.txt"}, "new": ""}, "error": "x.txt"}
//       ]
//     },
//     {
//       "name": "json",
//       "description": "Lists what differs between two JSON values: the path of each value that was added, removed or changed. The order of keys does not matter.",
//       "annotations": {"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
//       "input_schema": {
//         "type": "object",
//         "properties": {"old": {}, "new": {}},
//         "required": ["old", "new"],
//         "additionalProperties": false
//       },
//       "output_schema": {
//         "type": "object",
//         "properties": {"equal": {"type": "boolean"}, "changes": {"type": "array", "items": {"type": "object"}}},
//         "required": ["equal", "changes"]
//       },
//       "examples": [
//         {"name": "equal", "input": {"old": {"a": 1, "b": [2]}, "new": {"b": [2], "a": 1}}, "output": {"equal": true, "changes": []}},
//         {"name": "of each kind", "input": {"old": {"a": 1, "b": [1, {"c": 2}]}, "new": {"b": [1, {"c": 3}], "d": null}},
//          "output": {"equal": false, "changes": [
//            {"path": "/a", "removed": 1}, {"path": "/b/1/c", "old": 2, "new": 3}, {"path": "/d", "added": null}]}}
//       ]
//     }
//   ]
// }
// ///

const maxLines = 20000;

function lines(side) {
  let text = side;
  if (typeof side !== "string") {
    try {
      text = chorale.readText("/in/" + side.file);
    } catch (e) {
      throw new BadArguments(`${e.message}; there are: ${chorale.readDir("/in").join(", ") || "no files"}`);
    }
  }
  const list = text.split("\n");
  if (list.at(-1) === "") list.pop();
  if (list.length > maxLines) throw new BadArguments(`a text has ${list.length} lines, at most ${maxLines} are compared`);
  return list;
}

// edits is the shortest list of changes, by Myers' algorithm: [kind, line] with kind " ", "-" or "+".
function edits(a, b, same) {
  let start = 0;
  while (start < a.length && start < b.length && same(a[start], b[start])) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && same(a[a.length - 1 - end], b[b.length - 1 - end])) end++;
  const n = a.length - start - end;
  const m = b.length - start - end;
  const far = new Map([[1, 0]]); // the furthest line of a on each diagonal
  const trace = [];
  search: for (let d = 0; d <= n + m; d++) {
    trace.push(new Map(far));
    if (d > 500) throw new BadArguments("the texts differ in too many lines");
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && far.get(k - 1) < far.get(k + 1)) ? far.get(k + 1) : far.get(k - 1) + 1;
      while (x < n && x - k < m && same(a[start + x], b[start + x - k])) x++;
      far.set(k, x);
      if (x >= n && x - k >= m) break search;
    }
  }
  const middle = [];
  let [x, y] = [n, m];
  for (let d = trace.length - 1; d >= 0; d--) {
    const last = trace[d];
    const k = x - y;
    const from = k === -d || (k !== d && last.get(k - 1) < last.get(k + 1)) ? k + 1 : k - 1;
    const [px, py] = [last.get(from), last.get(from) - from];
    while (x > Math.max(px, 0) && y > Math.max(py, 0)) {
      middle.push([" ", a[start + --x]]);
      y--;
    }
    if (d > 0) middle.push(x === px ? ["+", b[start + --y]] : ["-", a[start + --x]]);
  }
  const equal = (line) => [" ", line];
  return [...a.slice(0, start).map(equal), ...middle.reverse(), ...a.slice(a.length - end).map(equal)];
}

export function texts({ old, new: next, context = 3, ignore_space = false }) {
  const plain = (line) => line.replace(/\s+/g, " ").trim();
  const same = ignore_space ? (p, q) => plain(p) === plain(q) : (p, q) => p === q;
  const all = edits(lines(old), lines(next), same);
  const near = all.map(() => false);
  all.forEach(([kind], i) => {
    if (kind !== " ") near.fill(true, Math.max(0, i - context), i + context + 1);
  });
  const out = [];
  let [a, b] = [0, 0]; // lines before
  for (let i = 0; i < all.length; ) {
    let stop = i;
    while (stop < all.length && near[stop] === near[i]) stop++;
    const hunk = all.slice(i, stop);
    const oldCount = hunk.filter(([kind]) => kind !== "+").length;
    const newCount = hunk.filter(([kind]) => kind !== "-").length;
    if (near[i]) {
      out.push(`@@ -${a + (oldCount > 0)},${oldCount} +${b + (newCount > 0)},${newCount} @@`, ...hunk.map(([kind, line]) => kind + line));
    }
    [a, b, i] = [a + oldCount, b + newCount, stop];
  }
  return out.join("\n") || "The texts are equal.";
}

const isObject = (v) => typeof v === "object" && v !== null;

function compare(old, next, path, changes) {
  if (old === next) return;
  if (!isObject(old) || !isObject(next) || Array.isArray(old) !== Array.isArray(next)) {
    changes.push({ path, old, new: next });
    return;
  }
  for (const key of new Set([...Object.keys(old), ...Object.keys(next)])) {
    const below = `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`; // RFC 6901
    if (!Object.hasOwn(next, key)) changes.push({ path: below, removed: old[key] });
    else if (!Object.hasOwn(old, key)) changes.push({ path: below, added: next[key] });
    else compare(old[key], next[key], below, changes);
  }
}

export function json({ old, new: next }) {
  const changes = [];
  compare(old, next, "", changes);
  return { equal: changes.length === 0, changes };
}
