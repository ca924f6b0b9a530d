// What every tool does: read the arguments, and end as the host expects it. It needs five functions of WASI.
import { Kind, Value, parse } from "./json";

@external("wasi_snapshot_preview1", "fd_read")
declare function fd_read(fd: i32, iovs: usize, n: i32, read: usize): i32;
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, iovs: usize, n: i32, written: usize): i32;
@external("wasi_snapshot_preview1", "args_sizes_get")
declare function args_sizes_get(n: usize, bytes: usize): i32;
@external("wasi_snapshot_preview1", "args_get")
declare function args_get(argv: usize, bytes: usize): i32;
@external("wasi_snapshot_preview1", "proc_exit")
declare function proc_exit(code: i32): void;

const cells = memory.data(16); // for what those functions read and write: address and length, and a result

// name returns the tool that is called.
export function name(): string {
  args_sizes_get(cells, cells + 4);
  const n = load<i32>(cells);
  const argv = new ArrayBuffer(4 * n);
  const text = new ArrayBuffer(load<i32>(cells, 4));
  args_get(changetype<usize>(argv), changetype<usize>(text));
  if (n < 2) return "";
  const start = load<usize>(changetype<usize>(argv), 4);
  let len = 0;
  while (load<u8>(start + len) != 0) len++;
  return String.UTF8.decodeUnsafe(start, len);
}

// args returns the arguments of the call, an object.
export function args(): Value {
  let data = new Uint8Array(1 << 14);
  let len = 0;
  while (true) {
    store<usize>(cells, data.dataStart + len);
    store<i32>(cells, data.length - len, 4);
    if (fd_read(0, cells, 1, cells + 8) != 0) fail("reading the arguments failed");
    const n = load<i32>(cells, 8);
    if (n == 0) break;
    len += n;
    if (len == data.length) {
      const larger = new Uint8Array(2 * len);
      larger.set(data);
      data = larger;
    }
  }
  const v = parse(String.UTF8.decodeUnsafe(data.dataStart, len));
  if (v === null || v.kind != Kind.Object) bad("the arguments must be one JSON object");
  return v!;
}

// text returns a string argument; the call ends if there is none.
export function text(args: Value, name: string): string {
  const v = args.get(name);
  if (v === null || v.kind != Kind.Text) bad(name + " must be a string");
  return v!.text;
}

// number returns a number argument, or otherwise if there is none.
export function number(args: Value, name: string, otherwise: f64): f64 {
  const v = args.get(name);
  if (v === null) return otherwise;
  if (v.kind != Kind.Number) bad(name + " must be a number");
  return v.number;
}

// result writes the result.
export function result(text: string): void {
  write(1, text);
}

// fail ends the call; the model reads the text.
export function fail(text: string): void {
  write(2, text + "\n");
  proc_exit(1);
}

// bad ends the call because its arguments are wrong; the model reads the text and may try again.
export function bad(text: string): void {
  write(2, text + "\n");
  proc_exit(2);
}

// abort is called where a program breaks the language's rules.
export function abort(message: string | null, file: string | null, line: i32, column: i32): void {
  fail("abort: " + (message ? message : "") + " at " + (file ? file : "") + ":" + line.toString() + ":" + column.toString());
}

function write(fd: i32, text: string): void {
  const data = String.UTF8.encode(text);
  let from = changetype<usize>(data);
  let len = data.byteLength;
  while (len > 0) {
    store<usize>(cells, from);
    store<i32>(cells, len, 4);
    if (fd_write(fd, cells, 1, cells + 8) != 0) proc_exit(1);
    from += load<i32>(cells, 8);
    len -= load<i32>(cells, 8);
  }
}
