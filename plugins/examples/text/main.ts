// text counts what a text consists of.
import * as json from "../../kit/templates/as/json";
import * as tool from "../../kit/templates/as/tool";

// isLetter takes everything beyond ASCII for a letter, except the signs of Latin-1, general punctuation and spaces.
function isLetter(c: i32): bool {
  if (c < 0x80) return (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a) || (c >= 0x30 && c <= 0x39);
  if (c == 0x2019) return true; // the apostrophe of it’s
  return c >= 0xc0 && c != 0xd7 && c != 0xf7 && !(c >= 0x2000 && c <= 0x206f) && !(c >= 0x3000 && c <= 0x303f) && c != 0xfeff;
}

// words splits at everything that is no letter; an apostrophe or a hyphen between letters belongs to its word.
function words(text: string): string[] {
  const all = new Array<string>();
  let start = -1;
  for (let i = 0; i <= text.length; i++) {
    const c = i < text.length ? text.charCodeAt(i) : 0x20;
    const joins = (c == 0x27 || c == 0x2d) && start >= 0 && i + 1 < text.length && isLetter(text.charCodeAt(i + 1));
    if (isLetter(c) || joins) {
      if (start < 0) start = i;
    } else if (start >= 0) {
      all.push(text.substring(start, i));
      start = -1;
    }
  }
  return all;
}

// sentences counts the ends of sentences: a run of .!?… before a space or the end, and a last one without any.
function sentences(text: string): i32 {
  let n = 0;
  let open = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (isLetter(c)) open = true;
    const ends = c == 0x2e || c == 0x21 || c == 0x3f || c == 0x2026 || c == 0x3002;
    const next = i + 1 < text.length ? text.charCodeAt(i + 1) : 0x20;
    const space = next <= 0x20 || next == 0x22 || next == 0x27 || next == 0x29 || next == 0x201d || c == 0x3002;
    if (open && ends && space) {
      n++;
      open = false;
    }
  }
  return n + (open ? 1 : 0);
}

// syllables counts groups of vowels, as readability formulas do for English; a silent e at the end is none.
function syllables(word: string): i32 {
  const w = word.toLowerCase();
  let n = 0;
  let vowel = false;
  for (let i = 0; i < w.length; i++) {
    const is = "aeiouy".includes(w.charAt(i));
    if (is && !vowel) n++;
    vowel = is;
  }
  if (n > 1 && w.endsWith("e") && !w.endsWith("le")) n--;
  return n > 0 ? n : 1;
}

function lines(text: string): i32 {
  if (text.length == 0) return 0;
  let n = 1;
  for (let i = 0; i < text.length - 1; i++) if (text.charCodeAt(i) == 0x0a) n++;
  return n;
}

function paragraphs(text: string): i32 {
  let n = 0;
  let blank = true;
  const all = text.split("\n");
  for (let i = 0; i < all.length; i++) {
    const empty = all[i].trim().length == 0;
    if (blank && !empty) n++;
    blank = empty;
  }
  return n;
}

// characters counts code points: a surrogate pair is one.
function characters(text: string): i32 {
  let n = 0;
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) != 0xdc00) n++;
  return n;
}

function tenths(x: f64): string {
  const rounded = Math.round(x * 10) / 10;
  return rounded == Math.floor(rounded) ? (<i64>rounded).toString() : rounded.toString();
}

function statistics(text: string): string {
  const all = words(text);
  const nSentences = sentences(text);
  let nSyllables = 0;
  let letters = 0;
  for (let i = 0; i < all.length; i++) {
    nSyllables += syllables(all[i]);
    letters += all[i].length;
  }
  let out = '{"characters":' + characters(text).toString() + ',"words":' + all.length.toString() +
    ',"sentences":' + nSentences.toString() + ',"paragraphs":' + paragraphs(text).toString() +
    ',"lines":' + lines(text).toString();
  if (all.length > 0) {
    const perSentence = <f64>all.length / <f64>nSentences;
    const perWord = <f64>nSyllables / <f64>all.length;
    out += ',"letters_per_word":' + tenths(<f64>letters / <f64>all.length) + ',"words_per_sentence":' + tenths(perSentence) +
      ',"reading_seconds":' + (<i32>Math.ceil(<f64>all.length * 60 / 238)).toString() + // silent reading (Brysbaert 2019)
      ',"reading_ease":' + tenths(206.835 - 1.015 * perSentence - 84.6 * perWord) + // Flesch 1948
      ',"grade_level":' + tenths(0.39 * perSentence + 11.8 * perWord - 15.59); // Kincaid 1975
  }
  return out + "}";
}

// frequent lists the most frequent words, those of equal number in the order of the text.
function frequent(text: string, limit: i32, letters: i32): string {
  const all = words(text.toLowerCase());
  const index = new Map<string, i32>();
  const names = new Array<string>();
  const counts = new Array<i32>();
  for (let i = 0; i < all.length; i++) {
    if (all[i].length < letters) continue;
    if (!index.has(all[i])) {
      index.set(all[i], names.length);
      names.push(all[i]);
      counts.push(0);
    }
    counts[index.get(all[i])]++;
  }
  // A key holds the count above the place in the text, so that plain numbers sort as wanted.
  const keys = new Array<i64>();
  for (let i = 0; i < names.length; i++) keys.push((<i64>counts[i] << 32) | <i64>(i32.MAX_VALUE - i));
  keys.sort((a, b) => (a > b ? -1 : a < b ? 1 : 0));
  let out = '{"words":[';
  for (let i = 0; i < keys.length && i < limit; i++) {
    const at = i32.MAX_VALUE - <i32>(keys[i] & 0xffffffff);
    out += (i > 0 ? "," : "") + '{"word":' + json.quote(names[at]) + ',"count":' + counts[at].toString() + "}";
  }
  return out + '],"distinct":' + names.length.toString() + "}";
}

const called = tool.name();
const given = tool.args();
if (called == "statistics") tool.result(statistics(tool.text(given, "text")));
else if (called == "frequent_words") {
  const limit = tool.number(given, "limit", 10);
  const letters = tool.number(given, "min_letters", 1);
  if (!(limit >= 1 && limit <= 1000)) tool.bad("limit must be 1 to 1000");
  if (!(letters >= 1 && letters <= 100)) tool.bad("min_letters must be 1 to 100");
  tool.result(frequent(tool.text(given, "text"), <i32>limit, <i32>letters));
} else tool.fail('no tool is called "' + called + '"');
