// What a script finds beside the language itself. The engine calls this function once, before any script is there, with what
// it can do (build/main.c), and gets what runs a script and what waits.
(host) => {
  const define = (values) => {
    for (const [name, value] of Object.entries(values))
      Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
  };
  const { parse, stringify } = JSON;

  // A script throws a BadArguments to say that the model should try again with other arguments.
  class BadArguments extends Error {
    get name() {
      return "BadArguments";
    }
  }

  // describe makes the text of what was thrown, with the places of the script.
  const describe = (e) => {
    if (!(e instanceof Error)) return "thrown: " + inspect(e);
    const places = String(e.stack ?? "")
      .split("\n")
      .filter((line) => line.trim() && !line.includes("<prelude>") && !line.includes("(native)"));
    const cause = e.cause === undefined ? "" : "\ncaused by " + describe(e.cause);
    return [`${e.name}: ${e.message}`, ...places].join("\n") + cause;
  };

  const inspect = (v) => {
    if (typeof v === "string") return v;
    if (v instanceof Error) return describe(v);
    if (typeof v === "bigint") return `${v}n`;
    if (typeof v !== "object" || v === null) return String(v);
    try {
      return stringify(v, (_, x) => (typeof x === "bigint" ? `${x}n` : x instanceof Map || x instanceof Set ? [...x] : x)) ?? String(v);
    } catch {
      return Object.prototype.toString.call(v);
    }
  };

  const log = (...values) => host.emit(2, values.map(inspect).join(" ") + "\n");
  const console = {};
  for (const name of ["log", "info", "warn", "error", "debug", "trace"]) console[name] = log;
  console.assert = (ok, ...values) => ok || log("assertion failed:", ...values);

  // Timers: a list in the order of their times.
  let timers = [];
  let lastTimer = 0;
  const addTimer = (f, ms, every, args) => {
    ms = Math.max(Number(ms) || 0, 0);
    const timer = { id: ++lastTimer, at: performance.now() + ms, f, args, every: every ? Math.max(ms, 1) : 0 };
    timers.push(timer);
    timers.sort((a, b) => a.at - b.at || a.id - b.id);
    return timer.id;
  };
  const removeTimer = (id) => {
    timers = timers.filter((t) => t.id !== id);
  };

  // Requests under way: number of the file, and what to do with the answer. They run at the same time; whoever waits, waits for
  // the oldest.
  const requests = [];

  const bytesOf = (v) => {
    if (v instanceof Uint8Array) return v;
    if (v instanceof ArrayBuffer) return new Uint8Array(v);
    if (ArrayBuffer.isView(v)) return new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
    return null;
  };

  class Headers {
    #values = new Map();
    constructor(from = {}) {
      for (const [k, v] of from[Symbol.iterator] ? from : Object.entries(from)) this.append(k, v);
    }
    append(k, v) {
      k = String(k).toLowerCase();
      this.#values.set(k, this.#values.has(k) ? `${this.#values.get(k)}, ${v}` : String(v));
    }
    set(k, v) {
      this.#values.set(String(k).toLowerCase(), String(v));
    }
    get(k) {
      return this.#values.get(String(k).toLowerCase()) ?? null;
    }
    has(k) {
      return this.#values.has(String(k).toLowerCase());
    }
    delete(k) {
      this.#values.delete(String(k).toLowerCase());
    }
    forEach(f) {
      this.#values.forEach((v, k) => f(v, k, this));
    }
    keys() {
      return this.#values.keys();
    }
    values() {
      return this.#values.values();
    }
    entries() {
      return this.#values.entries();
    }
    [Symbol.iterator]() {
      return this.#values.entries();
    }
  }

  class Response {
    #answer;
    constructor(answer) {
      this.#answer = answer;
      this.status = answer.status;
      this.ok = answer.status >= 200 && answer.status < 300;
      this.url = answer.url;
      this.headers = new Headers(answer.headers);
    }
    async bytes() {
      const { body, body_base64 } = this.#answer;
      return body_base64 === undefined ? host.encode(body ?? "") : fromBase64(body_base64);
    }
    async arrayBuffer() {
      return (await this.bytes()).buffer;
    }
    async text() {
      return this.#answer.body_base64 === undefined ? this.#answer.body ?? "" : host.decode(await this.bytes());
    }
    async json() {
      return parse(await this.text());
    }
  }

  const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const toBase64 = (bytes) => {
    let text = "";
    for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
    return btoa(text);
  };

  const fetch = (url, init = {}) =>
    new Promise((resolve, reject) => {
      const request = { method: String(init.method ?? "GET").toUpperCase(), url: String(url), headers: Object.fromEntries(new Headers(init.headers)) };
      const bytes = bytesOf(init.body);
      if (bytes) request.body_base64 = toBase64(bytes);
      else if (init.body !== undefined && init.body !== null) request.body = String(init.body);
      const finish = (answer) => {
        const { error, ...response } = parse(host.decode(answer));
        if (error) reject(Object.assign(new TypeError(error.message), { code: error.code, rule: error.rule }));
        else resolve(new Response(response));
      };
      requests.push({ file: host.send("/host/http", stringify(request)), finish, reject });
    });

  const absent = (f) => {
    try {
      return f();
    } catch (e) {
      if (e.missing) return null;
      throw e;
    }
  };
  const key = (k) => "/host/kv/" + encodeURIComponent(k);
  const chorale = {
    readFile: (path) => host.read(String(path)),
    readText: (path) => host.decode(host.read(String(path))),
    writeFile: (path, data) => host.write(String(path), bytesOf(data) ?? String(data), false),
    readDir: (path) => host.list(String(path)),
    config: (name) =>
      absent(() => {
        const text = host.decode(host.read("/config/" + name));
        try {
          return parse(text);
        } catch {
          return text;
        }
      }),
    progress: (message, fraction) => host.write("/host/progress", stringify({ message, fraction }) + "\n", false),
    log: (text) => host.write("/host/log", String(text) + "\n", false),
    kv: {
      get: (k) => absent(() => parse(host.decode(host.read(key(k))))),
      set: (k, v) => host.write(key(k), stringify(v), false),
      delete: (k) => absent(() => host.remove(key(k))),
      keys: () => host.list("/host/kv").map(decodeURIComponent),
    },
  };

  define({
    BadArguments,
    console,
    chorale: Object.freeze(chorale),
    fetch,
    Headers,
    Response,
    setTimeout: (f, ms, ...args) => addTimer(f, ms, false, args),
    setInterval: (f, ms, ...args) => addTimer(f, ms, true, args),
    clearTimeout: removeTimer,
    clearInterval: removeTimer,
    crypto: {
      getRandomValues: (v) => (host.fill(bytesOf(v)), v),
      randomUUID: () => {
        const b = host.fill(new Uint8Array(16));
        b[6] = (b[6] & 15) | 64;
        b[8] = (b[8] & 63) | 128;
        const hex = [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
        return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
      },
    },
    TextEncoder: class TextEncoder {
      encode(text = "") {
        return host.encode(String(text));
      }
    },
    TextDecoder: class TextDecoder {
      decode(v = new Uint8Array()) {
        return host.decode(bytesOf(v));
      }
    },
  });
  Math.random = host.random;

  // run calls the tool: the export of its name, or the default one.
  const run = async (tool, text) => {
    try {
      const args = parse(text);
      await host.evaluate();
      const exported = host.namespace();
      const f = Object.hasOwn(exported, tool) ? exported[tool] : exported.default;
      if (typeof f !== "function")
        throw new Error(`the script exports no function ${tool}, and no default one; write: export function ${tool}(args) { … }`);
      const result = await f(args, { tool });
      const output = typeof result === "string" ? result : stringify(result);
      if (output === undefined) throw new Error(`${tool} returned ${inspect(result)}; it must return a string or what JSON can hold`);
      host.emit(1, output);
      return 0;
    } catch (e) {
      if (!(e instanceof BadArguments)) return log(describe(e)), 1;
      log(e.message);
      return 2;
    }
  };

  // tick does the next thing that is not a job of a promise, and says whether there was one.
  const tick = () => {
    const timer = timers[0];
    if (requests.length > 0 && !(timer && timer.at <= performance.now())) {
      const { file, finish, reject } = requests.shift();
      try {
        finish(host.receive(file));
      } catch (e) {
        reject(e);
      }
      return true;
    }
    if (!timer) return false;
    timers.shift();
    const wait = timer.at - performance.now();
    if (wait > 0) host.sleep(wait);
    if (timer.every) {
      timer.at += timer.every;
      timers.push(timer);
      timers.sort((a, b) => a.at - b.at || a.id - b.id);
    }
    try {
      timer.f(...timer.args);
    } catch (e) {
      log(describe(e));
    }
    return true;
  };

  return [run, tick];
};
