//! Reads what a camera notes in a picture: a TIFF file without pixels (Exif 2.32, chapter 4).

const std = @import("std");

pub const Exif = struct {
    make: ?[]const u8 = null,
    model: ?[]const u8 = null,
    /// 1 upright, 3 upside down, 6 and 8 on its sides; the even ones and 5, 7 are mirrored (TIFF 6.0).
    orientation: ?u16 = null,
    taken: ?[]const u8 = null,
    exposure_seconds: ?f64 = null,
    f_number: ?f64 = null,
    iso: ?u16 = null,
    focal_length_mm: ?f64 = null,
    latitude: ?f64 = null,
    longitude: ?f64 = null,
    altitude_m: ?f64 = null,
};

/// What can be read; null if the data are no TIFF. A tag that is damaged is left out.
pub fn read(data: []const u8) ?Exif {
    if (data.len < 8) return null;
    var tiff: Tiff = .{ .data = data, .order = .little };
    if (std.mem.startsWith(u8, data, "MM\x00\x2a")) {
        tiff.order = .big;
    } else if (!std.mem.startsWith(u8, data, "II\x2a\x00")) return null;
    var e: Exif = .{};
    var gps: Position = .{};
    tiff.directory(tiff.int(u32, 4) orelse return null, &e, &gps, .main);
    e.latitude = signed(gps.latitude, gps.south);
    e.longitude = signed(gps.longitude, gps.west);
    e.altitude_m = signed(gps.altitude, gps.below);
    return e;
}

fn signed(value: ?f64, negative: bool) ?f64 {
    return if (value) |v| (if (negative) -v else v) else null;
}

const Position = struct {
    latitude: ?f64 = null,
    longitude: ?f64 = null,
    altitude: ?f64 = null,
    south: bool = false,
    west: bool = false,
    below: bool = false,
};

const Kind = enum { main, camera, gps };

const Tiff = struct {
    data: []const u8,
    order: std.builtin.Endian,

    fn int(t: Tiff, comptime T: type, at: usize) ?T {
        const n = @sizeOf(T);
        if (at > t.data.len or n > t.data.len - at) return null;
        return std.mem.readInt(T, t.data[at..][0..n], t.order);
    }

    /// Reads the tags of one directory. The main one leads to the others, and these nowhere: there are no loops.
    fn directory(t: Tiff, at: usize, e: *Exif, gps: *Position, kind: Kind) void {
        const n = t.int(u16, at) orelse return;
        for (0..n) |i| {
            const entry: Entry = .{ .tiff = t, .at = at + 2 + 12 * i };
            const tag = t.int(u16, entry.at) orelse return;
            switch (kind) {
                .main => switch (tag) {
                    0x010f => e.make = entry.text(),
                    0x0110 => e.model = entry.text(),
                    0x0112 => e.orientation = entry.short(),
                    0x0132 => if (e.taken == null) {
                        e.taken = entry.text();
                    },
                    0x8769 => if (t.int(u32, entry.at + 8)) |to| t.directory(to, e, gps, .camera),
                    0x8825 => if (t.int(u32, entry.at + 8)) |to| t.directory(to, e, gps, .gps),
                    else => {},
                },
                .camera => switch (tag) {
                    0x829a => e.exposure_seconds = entry.ratio(0),
                    0x829d => e.f_number = entry.ratio(0),
                    0x8827 => e.iso = entry.short(),
                    0x9003 => e.taken = entry.text(),
                    0x920a => e.focal_length_mm = entry.ratio(0),
                    else => {},
                },
                .gps => switch (tag) {
                    1 => gps.south = entry.letter() == 'S',
                    2 => gps.latitude = entry.degrees(),
                    3 => gps.west = entry.letter() == 'W',
                    4 => gps.longitude = entry.degrees(),
                    5 => gps.below = entry.letter() == 1,
                    6 => gps.altitude = entry.ratio(0),
                    else => {},
                },
            }
        }
    }
};

/// Twelve bytes: tag, type, count, and the value or where it stands.
const Entry = struct {
    tiff: Tiff,
    at: usize,

    fn letter(e: Entry) u8 {
        return e.tiff.int(u8, e.at + 8) orelse 0;
    }

    fn short(e: Entry) ?u16 {
        return if (e.tiff.int(u16, e.at + 2) == 3) e.tiff.int(u16, e.at + 8) else null;
    }

    fn text(e: Entry) ?[]const u8 {
        const len = e.tiff.int(u32, e.at + 4) orelse return null;
        if (e.tiff.int(u16, e.at + 2) != 2) return null;
        const from: usize = if (len <= 4) e.at + 8 else e.tiff.int(u32, e.at + 8) orelse return null;
        const data = e.tiff.data;
        if (from > data.len or len > data.len - from) return null;
        const all = data[from..][0..len];
        const line = std.mem.trim(u8, all[0 .. std.mem.indexOfScalar(u8, all, 0) orelse all.len], " ");
        return if (line.len > 0 and line.len <= 200 and std.unicode.utf8ValidateSlice(line)) line else null;
    }

    fn ratio(e: Entry, index: usize) ?f64 {
        if (e.tiff.int(u16, e.at + 2) != 5) return null;
        const at = (e.tiff.int(u32, e.at + 8) orelse return null) +| 8 * index;
        const over: f64 = @floatFromInt(e.tiff.int(u32, at) orelse return null);
        const under: f64 = @floatFromInt(e.tiff.int(u32, at +| 4) orelse return null);
        if (under == 0) return null;
        return @round(over / under * 1e6) / 1e6;
    }

    fn degrees(e: Entry) ?f64 {
        const minutes = (e.ratio(1) orelse return null) + (e.ratio(2) orelse 0) / 60;
        return @round(((e.ratio(0) orelse return null) + minutes / 60) * 1e6) / 1e6;
    }
};
