//! image says what an image file is without decoding its pixels: format, size and what a camera noted in it.

const std = @import("std");
const format = @import("format.zig");

extern "c" fn open(path: [*:0]const u8, flags: c_int, ...) c_int;
extern "c" fn read(fd: c_int, to: [*]u8, len: usize) isize;
extern "c" fn write(fd: c_int, from: [*]const u8, len: usize) isize;
extern "c" fn exit(code: c_int) noreturn;

/// Where the host mounts the operator's folder.
const folder = "/images/";
const max_file_bytes = 48 << 20;

const Arguments = struct { file: ?[]const u8 = null, data_base64: ?[]const u8 = null };

const failed = 1;
const bad_arguments = 2;

fn fail(code: c_int, text: []const u8) noreturn {
    writeAll(2, text);
    exit(code);
}

fn writeAll(fd: c_int, text: []const u8) void {
    var rest = text;
    while (rest.len > 0) {
        const n = write(fd, rest.ptr, rest.len);
        if (n <= 0) exit(failed);
        rest = rest[@intCast(n)..];
    }
}

fn readAll(memory: std.mem.Allocator, fd: c_int) ![]u8 {
    var data: []u8 = try memory.alloc(u8, 1 << 16);
    var len: usize = 0;
    while (true) {
        if (len == data.len) {
            if (len > 2 * max_file_bytes) fail(failed, "the image is too large: 48 MiB is the most");
            data = try memory.realloc(data, 2 * len);
        }
        const n = read(fd, data.ptr + len, data.len - len);
        if (n < 0) fail(failed, "reading failed");
        if (n == 0) return data[0..len];
        len += @intCast(n);
    }
}

/// Nothing is freed: the memory ends with the call.
pub fn main() !void {
    const memory = std.heap.wasm_allocator;
    const text = try readAll(memory, 0);
    const args = std.json.parseFromSliceLeaky(Arguments, memory, text, .{}) catch
        fail(bad_arguments, "the arguments must be a JSON object with file or data_base64");
    if ((args.file == null) == (args.data_base64 == null)) fail(bad_arguments, "either file or data_base64 must be given");
    const data = if (args.file) |name| try readFile(memory, name) else try decode(memory, args.data_base64.?);
    const image = format.inspect(data) catch |err| fail(bad_arguments, switch (err) {
        error.UnknownFormat => "this is no PNG, JPEG, GIF, WebP or BMP file",
        error.Truncated => "the image file is cut off before its size is said",
    });
    writeAll(1, try std.json.Stringify.valueAlloc(memory, image, .{ .emit_null_optional_fields = false }));
}

fn readFile(memory: std.mem.Allocator, name: []const u8) ![]u8 {
    const path = try std.mem.concatWithSentinel(memory, u8, &.{ folder, std.mem.trimStart(u8, name, "/") }, 0);
    const fd = open(path, 0x04000000); // O_RDONLY of wasi-libc
    if (fd < 0) fail(bad_arguments, "file: it cannot be opened; files are looked for in the folder that is granted as /images");
    return readAll(memory, fd);
}

fn decode(memory: std.mem.Allocator, text: []const u8) ![]u8 {
    const decoder = std.base64.standard.Decoder;
    const len = decoder.calcSizeForSlice(text) catch fail(bad_arguments, "data_base64 is no base64");
    const data = try memory.alloc(u8, len);
    decoder.decode(data, text) catch fail(bad_arguments, "data_base64 is no base64");
    return data;
}
