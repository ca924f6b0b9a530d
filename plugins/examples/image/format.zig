//! Reads the headers of image files. Sources: PNG (third edition), JFIF 1.02 and T.81, GIF89a, the WebP container
//! specification, Exif 2.32. Input is hostile: every offset is checked by the slices that it makes.

const std = @import("std");
const exif = @import("exif.zig");

pub const Image = struct {
    format: []const u8,
    width: u32,
    height: u32,
    bits_per_pixel: ?u32 = null,
    alpha: ?bool = null,
    animated: ?bool = null,
    dots_per_inch: ?u32 = null,
    exif: ?exif.Exif = null,
};

pub const Error = error{ UnknownFormat, Truncated };

pub fn inspect(data: []const u8) Error!Image {
    if (std.mem.startsWith(u8, data, "\x89PNG\r\n\x1a\n")) return png(data);
    if (std.mem.startsWith(u8, data, "\xff\xd8\xff")) return jpeg(data);
    if (std.mem.startsWith(u8, data, "GIF87a") or std.mem.startsWith(u8, data, "GIF89a")) return gif(data);
    if (std.mem.startsWith(u8, data, "RIFF") and data.len >= 12 and std.mem.eql(u8, data[8..12], "WEBP")) return webp(data);
    if (std.mem.startsWith(u8, data, "BM") and data.len >= 26) return bmp(data);
    return error.UnknownFormat;
}

fn part(data: []const u8, at: usize, len: usize) Error![]const u8 {
    if (at > data.len or len > data.len - at) return error.Truncated;
    return data[at..][0..len];
}

fn int(comptime T: type, data: []const u8, at: usize, order: std.builtin.Endian) Error!T {
    const bytes = try part(data, at, @divExact(@bitSizeOf(T), 8));
    return std.mem.readInt(T, bytes[0..@divExact(@bitSizeOf(T), 8)], order);
}

fn png(data: []const u8) Error!Image {
    const header = try part(data, 16, 13);
    const kind = header[9];
    const samples: u32 = switch (kind) {
        2 => 3,
        4 => 2,
        6 => 4,
        else => 1,
    };
    var image: Image = .{
        .format = "PNG",
        .width = try int(u32, header, 0, .big),
        .height = try int(u32, header, 4, .big),
        .bits_per_pixel = samples * header[8],
        .alpha = kind & 4 != 0,
        .animated = false,
    };
    var at: usize = 8;
    while (at + 12 <= data.len) {
        const len = try int(u32, data, at, .big);
        const name = data[at + 4 ..][0..4];
        const body = part(data, at + 8, len) catch break;
        if (std.mem.eql(u8, name, "tRNS")) image.alpha = true;
        if (std.mem.eql(u8, name, "acTL")) image.animated = true;
        if (std.mem.eql(u8, name, "eXIf")) image.exif = exif.read(body);
        if (std.mem.eql(u8, name, "pHYs") and len >= 9 and body[8] == 1) image.dots_per_inch = perInch(try int(u32, body, 0, .big), 10000);
        at += 12 + @as(usize, len);
    }
    return image;
}

/// Dots per inch of dots on 254/10000 times unit.
fn perInch(dots: u64, unit: u64) u32 {
    return @intCast(@min((dots * 254 + unit / 2) / unit, std.math.maxInt(u32)));
}

fn jpeg(data: []const u8) Error!Image {
    var image: Image = .{ .format = "JPEG", .width = 0, .height = 0, .alpha = false, .animated = false };
    var at: usize = 2;
    while (true) {
        if ((try part(data, at, 1))[0] != 0xff) return error.Truncated;
        while ((try part(data, at, 1))[0] == 0xff) at += 1; // fill bytes
        const marker = data[at];
        at += 1;
        if (marker == 0x01 or (marker >= 0xd0 and marker <= 0xd8)) continue; // without a length
        if (marker == 0xd9 or marker == 0xda) return error.Truncated; // the size stands before the pixels
        const len = try int(u16, data, at, .big);
        if (len < 2) return error.Truncated;
        const body = try part(data, at + 2, len - 2);
        at += len;
        switch (marker) {
            0xe0 => if (std.mem.startsWith(u8, body, "JFIF\x00") and body.len >= 12) {
                const dots = try int(u16, body, 8, .big);
                if (body[7] == 1) image.dots_per_inch = dots;
                if (body[7] == 2) image.dots_per_inch = perInch(dots, 100);
            },
            0xe1 => if (std.mem.startsWith(u8, body, "Exif\x00\x00")) {
                image.exif = exif.read(body[6..]);
            },
            // Frame headers are c0 to cf without DHT (c4), JPG (c8) and DAC (cc).
            0xc0...0xc3, 0xc5...0xc7, 0xc9...0xcb, 0xcd...0xcf => {
                const frame = try part(body, 0, 6);
                image.height = try int(u16, frame, 1, .big);
                image.width = try int(u16, frame, 3, .big);
                image.bits_per_pixel = @as(u32, frame[0]) * frame[5];
                return image;
            },
            else => {},
        }
    }
}

fn gif(data: []const u8) Error!Image {
    const header = try part(data, 6, 7);
    var image: Image = .{
        .format = "GIF",
        .width = try int(u16, header, 0, .little),
        .height = try int(u16, header, 2, .little),
        .bits_per_pixel = @as(u32, header[4] & 7) + 1,
        .alpha = false,
    };
    var frames: u32 = 0;
    var at: usize = 13 + colours(header[4]);
    while (at < data.len) {
        const kind = data[at];
        if (kind == 0x21) { // extension
            const label = part(data, at + 1, 3) catch break;
            if (label[0] == 0xf9 and label[2] & 1 != 0) image.alpha = true;
            at += 2;
        } else if (kind == 0x2c) { // image
            const flags = (part(data, at + 9, 1) catch break)[0];
            frames += 1;
            at += 11 + colours(flags);
        } else break;
        while (at < data.len and data[at] != 0) at += 1 + @as(usize, data[at]); // blocks
        at += 1;
    }
    image.animated = frames > 1;
    return image;
}

/// Bytes of the colour table that flags announce.
fn colours(flags: u8) usize {
    return if (flags & 0x80 == 0) 0 else @as(usize, 3) << @intCast((flags & 7) + 1);
}

fn webp(data: []const u8) Error!Image {
    var image: Image = .{ .format = "WebP", .width = 0, .height = 0 };
    var at: usize = 12;
    while (at + 8 <= data.len) {
        const name = data[at..][0..4];
        const len = try int(u32, data, at + 4, .little);
        // The pixels may be cut off: their size stands in front.
        const body = data[at + 8 ..][0..@min(len, data.len - at - 8)];
        if (std.mem.eql(u8, name, "VP8X")) {
            const flags = (try part(body, 0, 10))[0];
            image.width = @as(u32, try int(u24, body, 4, .little)) + 1;
            image.height = @as(u32, try int(u24, body, 7, .little)) + 1;
            image.alpha = flags & 0x10 != 0;
            image.animated = flags & 0x02 != 0;
        } else if (std.mem.eql(u8, name, "VP8 ") and image.width == 0) {
            image.width = try int(u16, body, 6, .little) & 0x3fff;
            image.height = try int(u16, body, 8, .little) & 0x3fff;
            image.alpha = false;
            image.animated = false;
        } else if (std.mem.eql(u8, name, "VP8L") and image.width == 0) {
            const bits = try int(u32, body, 1, .little);
            image.width = (bits & 0x3fff) + 1;
            image.height = (bits >> 14 & 0x3fff) + 1;
            image.alpha = bits >> 28 & 1 != 0;
            image.animated = false;
        } else if (std.mem.eql(u8, name, "EXIF")) {
            image.exif = exif.read(body);
        }
        at += 8 + body.len + (body.len & 1);
    }
    return if (image.width == 0) error.Truncated else image;
}

fn bmp(data: []const u8) Error!Image {
    const header_len = try int(u32, data, 14, .little);
    if (header_len == 12) return .{
        .format = "BMP",
        .width = try int(u16, data, 18, .little),
        .height = try int(u16, data, 20, .little),
        .bits_per_pixel = try int(u16, data, 24, .little),
    };
    if (header_len < 40) return error.UnknownFormat;
    return .{
        .format = "BMP",
        .width = @abs(try int(i32, data, 18, .little)),
        .height = @abs(try int(i32, data, 22, .little)), // negative: top row first
        .bits_per_pixel = try int(u16, data, 28, .little),
        .dots_per_inch = perInch(try int(u32, data, 38, .little), 10000),
    };
}
