// Reads and writes JSON for small tools.

export enum Kind { Null, Bool, Number, Text, List, Object }

export class Value {
  constructor(
    public kind: Kind,
    public number: f64 = 0, // 1 for true
    public text: string = "",
    public list: Value[] = [], // elements, or the values of members
    public keys: string[] = [], // names of the members
  ) {}

  // get returns a member of an object, or null.
  get(key: string): Value | null {
    const i = this.keys.indexOf(key);
    return i < 0 ? null : this.list[i];
  }
}

// quote returns text as a JSON string.
export function quote(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c == 0x22 || c == 0x5c) out += "\\" + text.charAt(i);
    else if (c == 0x0a) out += "\\n";
    else if (c < 0x20) out += "\\u00" + (c < 16 ? "0" : "1") + "0123456789abcdef".charAt(c & 15);
    else out += text.charAt(i);
  }
  return out + '"';
}

// parse returns the one value that the text holds, or null if it holds anything else.
export function parse(text: string): Value | null {
  const r = new Reader(text);
  const v = r.value();
  r.space();
  return r.at == text.length ? v : null;
}

const maxDepth = 64;

class Reader {
  at: i32 = 0;
  depth: i32 = 0;

  constructor(public text: string) {}

  space(): void {
    while (this.at < this.text.length && " \t\r\n".includes(this.text.charAt(this.at))) this.at++;
  }

  take(word: string): bool {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  value(): Value | null {
    this.space();
    if (++this.depth > maxDepth) return null;
    let v: Value | null = null;
    if (this.take("null")) v = new Value(Kind.Null);
    else if (this.take("true")) v = new Value(Kind.Bool, 1);
    else if (this.take("false")) v = new Value(Kind.Bool);
    else if (this.take("[")) v = this.members(Kind.List, "]");
    else if (this.take("{")) v = this.members(Kind.Object, "}");
    else if (this.text.charAt(this.at) == '"') {
      const s = this.string();
      if (s !== null) v = new Value(Kind.Text, 0, s);
    } else v = this.number();
    this.depth--;
    return v;
  }

  members(kind: Kind, close: string): Value | null {
    const v = new Value(kind);
    this.space();
    if (this.take(close)) return v;
    while (true) {
      if (kind == Kind.Object) {
        this.space();
        const key = this.string();
        if (key === null) return null;
        v.keys.push(key);
        this.space();
        if (!this.take(":")) return null;
      }
      const member = this.value();
      if (member === null) return null;
      v.list.push(member);
      this.space();
      if (this.take(close)) return v;
      if (!this.take(",")) return null;
    }
  }

  number(): Value | null {
    const start = this.at;
    while (this.at < this.text.length && "+-.0123456789eE".includes(this.text.charAt(this.at))) this.at++;
    const n = parseFloat(this.text.substring(start, this.at));
    return this.at > start && isFinite(n) ? new Value(Kind.Number, n) : null;
  }

  // string reads UTF-16 as it stands in the text; null if there is none.
  string(): string | null {
    if (!this.take('"')) return null;
    const parts = new Array<string>();
    let start = this.at;
    while (this.at < this.text.length) {
      const c = this.text.charCodeAt(this.at);
      if (c < 0x20) return null;
      if (c == 0x22) {
        parts.push(this.text.substring(start, this.at++));
        return parts.join("");
      }
      this.at++;
      if (c != 0x5c) continue;
      parts.push(this.text.substring(start, this.at - 1));
      const e = this.text.charAt(this.at++);
      const known = '"\\/bfnrt'.indexOf(e);
      if (e == "") return null;
      if (known >= 0) parts.push('"\\/\b\f\n\r\t'.charAt(known));
      else {
        const code = e == "u" ? this.hex4() : -1;
        if (code < 0) return null;
        parts.push(String.fromCharCode(code));
      }
      start = this.at;
    }
    return null;
  }

  hex4(): i32 {
    let code = 0;
    for (let i = 0; i < 4; i++, this.at++) {
      const digit = this.at < this.text.length ? "0123456789abcdef".indexOf(this.text.charAt(this.at).toLowerCase()) : -1;
      if (digit < 0) return -1;
      code = (code << 4) | digit;
    }
    return code;
  }
}
