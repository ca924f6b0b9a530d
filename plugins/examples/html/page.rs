//! Reads HTML as browsers forgive it, not as the standard's parser does it: tags, attributes, entities, comments, and the
//! elements whose content is no markup. That is enough for text, and cannot fail.

use crate::json::{object, Value};

enum Token<'a> {
    Text(&'a str),
    /// Name in lower case and the rest of the tag.
    Open(String, &'a str),
    Close(String),
}

struct Tokens<'a> {
    rest: &'a str,
    /// The element whose content is raw, until its end tag.
    raw: Option<String>,
}

const RAW: [&str; 6] = ["script", "style", "textarea", "title", "noscript", "template"];

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            if let Some(name) = self.raw.take() {
                let end = find_close(self.rest, &name);
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                if !text.is_empty() {
                    return Some(Token::Text(text));
                }
                continue;
            }
            let next = self.rest.as_bytes().get(1).copied().unwrap_or(b' ');
            if !self.rest.starts_with('<') || !(next.is_ascii_alphabetic() || b"/!?".contains(&next)) {
                // A lone < is text.
                let end = self.rest.char_indices().skip(1).find(|(_, c)| *c == '<').map_or(self.rest.len(), |(i, _)| i);
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some(Token::Text(text));
            }
            if let Some(comment) = self.rest.strip_prefix("<!--") {
                self.rest = comment.find("-->").map_or("", |i| &comment[i + 3..]);
                continue;
            }
            let end = tag_end(self.rest);
            let (tag, rest) = self.rest.split_at(end);
            self.rest = rest;
            let inner = tag[1..].trim_end_matches('>');
            let (close, inner) = inner.strip_prefix('/').map_or((false, inner), |i| (true, i));
            let name_end = inner.find(|c: char| c.is_ascii_whitespace() || c == '/').unwrap_or(inner.len());
            let name = inner[..name_end].to_ascii_lowercase();
            if name.starts_with(['!', '?']) || name.is_empty() {
                continue;
            }
            if close {
                return Some(Token::Close(name));
            }
            if RAW.contains(&name.as_str()) {
                self.raw = Some(name.clone());
            }
            return Some(Token::Open(name, &inner[name_end..]));
        }
    }
}

/// The end of the tag that begins here; a > in quotes does not end it.
fn tag_end(html: &str) -> usize {
    let mut quote = None;
    for (i, c) in html.bytes().enumerate() {
        match (quote, c) {
            (None, b'>') => return i + 1,
            // Quotes have a meaning only behind an equals sign.
            (None, b'"' | b'\'') if html[..i].trim_end().ends_with('=') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    html.len()
}

fn find_close(html: &str, name: &str) -> usize {
    let bytes = html.as_bytes();
    (0..bytes.len())
        .find(|&i| {
            bytes[i..].starts_with(b"</")
                && bytes.get(i + 2..i + 2 + name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
        })
        .unwrap_or(html.len())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        // An equals sign in front belongs to the name, as in browsers, and so the loop always moves on.
        let ends = |c: char| c.is_ascii_whitespace() || "=/".contains(c);
        let end = rest.char_indices().skip(1).find(|(_, c)| ends(*c)).map_or(rest.len(), |(i, _)| i);
        let (key, after) = rest.split_at(end);
        rest = after.trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| "\"'".contains(*c));
            (value, rest) = match quote {
                Some(q) => after[1..].split_once(q).unwrap_or((&after[1..], "")),
                None => after.split_at(after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len())),
            };
        }
        if key.eq_ignore_ascii_case(name) {
            return Some(decode(value));
        }
    }
}

/// The named entities that pages use; the others stay as they are.
const ENTITIES: [(&str, &str); 40] = [
    ("amp", "&"), ("lt", "<"), ("gt", ">"), ("quot", "\""), ("apos", "'"), ("nbsp", " "), ("copy", "©"), ("reg", "®"),
    ("trade", "™"), ("hellip", "…"), ("mdash", "—"), ("ndash", "–"), ("lsquo", "‘"), ("rsquo", "’"), ("ldquo", "“"),
    ("rdquo", "”"), ("laquo", "«"), ("raquo", "»"), ("bull", "•"), ("middot", "·"), ("times", "×"), ("deg", "°"),
    ("euro", "€"), ("pound", "£"), ("yen", "¥"), ("cent", "¢"), ("sect", "§"), ("para", "¶"), ("plusmn", "±"),
    ("frac12", "½"), ("auml", "ä"), ("ouml", "ö"), ("uuml", "ü"), ("Auml", "Ä"), ("Ouml", "Ö"), ("Uuml", "Ü"),
    ("szlig", "ß"), ("eacute", "é"), ("egrave", "è"), ("shy", ""),
];

fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(i) = rest.find('&') {
        out.push_str(&rest[..i]);
        rest = &rest[i..];
        let known = rest[1..].split_once(';').filter(|(name, _)| name.len() <= 10).and_then(|(name, after)| {
            Some((entity(name)?, after))
        });
        match known {
            Some((text, after)) => {
                out.push_str(&text);
                rest = after;
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

fn entity(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?).map(String::from);
    }
    ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, text)| text.to_string())
}

/// Elements that stand on lines of their own, and those with an empty line around.
const LINES: [&str; 25] = [
    "address", "article", "aside", "body", "dd", "div", "dt", "fieldset", "figcaption", "figure", "footer", "form", "head",
    "header", "html", "legend", "li", "main", "nav", "option", "section", "summary", "tbody", "thead", "tr",
];
const BLOCKS: [&str; 13] =
    ["blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"];
/// Elements whose content nobody reads.
const HIDDEN: [&str; 4] = ["script", "style", "noscript", "template"];

struct Writer {
    out: String,
    /// How many line ends must stand before the next text.
    breaks: usize,
    space: bool,
    preformatted: usize,
}

impl Writer {
    fn break_lines(&mut self, n: usize) {
        self.breaks = self.breaks.max(n);
    }

    fn begin(&mut self) {
        if self.out.is_empty() {
            self.breaks = 0;
        }
        if self.breaks > 0 {
            self.out.truncate(self.out.trim_end_matches(' ').len());
            self.out.push_str(&"\n".repeat(self.breaks));
        } else if self.space && !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        self.breaks = 0;
        self.space = false;
    }

    /// Text as it is, behind what is due before it.
    fn mark(&mut self, text: &str) {
        self.begin();
        self.out.push_str(text);
    }

    fn text(&mut self, text: &str) {
        if self.preformatted > 0 {
            return self.mark(text);
        }
        let white = |c: char| c.is_whitespace();
        for word in text.split(white).filter(|w| !w.is_empty()) {
            self.space |= text.starts_with(white) || word.as_ptr() != text.as_ptr();
            self.begin();
            self.out.push_str(word);
        }
        self.space |= text.ends_with(white);
    }
}

/// What a reader of the page sees: headings, lists, tables and quotes keep a mark, the rest is lines of text.
pub fn text(html: &str, links: bool) -> String {
    let mut w = Writer { out: String::new(), breaks: 0, space: false, preformatted: 0 };
    let mut lists: Vec<usize> = Vec::new(); // next number of each open list; 0 in those without
    let mut anchors: Vec<Option<String>> = Vec::new();
    let mut hidden: Option<String> = None;
    let mut first_cell = true;
    for token in (Tokens { rest: html, raw: None }) {
        match token {
            Token::Text(_) if hidden.is_some() => {}
            Token::Text(text) => w.text(&decode(text)),
            Token::Open(name, _) if HIDDEN.contains(&name.as_str()) => hidden = Some(name),
            Token::Open(name, tag) => {
                space_around(&mut w, &name);
                match name.as_str() {
                    "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                        w.mark(&"#".repeat(usize::from(name.as_bytes()[1] - b'0')));
                        w.space = true;
                    }
                    "br" => w.breaks += 1,
                    "hr" => {
                        w.break_lines(1);
                        w.mark("---");
                        w.break_lines(1);
                    }
                    "pre" => w.preformatted += 1,
                    "ul" => lists.push(0),
                    "ol" => lists.push(1),
                    "li" => {
                        let indent = "  ".repeat(lists.len().saturating_sub(1));
                        match lists.last_mut() {
                            Some(n) if *n > 0 => {
                                w.mark(&format!("{indent}{n}."));
                                *n += 1;
                            }
                            _ => w.mark(&format!("{indent}-")),
                        }
                        w.space = true;
                    }
                    "tr" => first_cell = true,
                    "td" | "th" => {
                        if !first_cell {
                            w.out.push_str(" |");
                        }
                        first_cell = false;
                        w.space = true;
                    }
                    "img" => {
                        if let Some(alt) = attribute(tag, "alt").filter(|alt| !alt.trim().is_empty()) {
                            w.text(&format!("[image: {}]", alt.trim()));
                        }
                    }
                    "a" => anchors.push(attribute(tag, "href").filter(|_| links)),
                    _ => {}
                }
            }
            Token::Close(name) if hidden.as_ref().is_some_and(|h| *h == name) => hidden = None,
            Token::Close(name) => {
                match name.as_str() {
                    "pre" => w.preformatted = w.preformatted.saturating_sub(1),
                    "ul" | "ol" => {
                        lists.pop();
                    }
                    "a" => {
                        if let Some(Some(href)) = anchors.pop() {
                            w.out.push_str(&format!(" ({href})"));
                        }
                    }
                    _ => {}
                }
                space_around(&mut w, &name);
            }
        }
    }
    w.out.trim().to_string()
}

fn space_around(w: &mut Writer, name: &str) {
    if BLOCKS.contains(&name) {
        w.break_lines(2);
    } else if LINES.contains(&name) || name == "title" {
        w.break_lines(if name == "title" { 2 } else { 1 });
    }
}

/// The links of a page in order: {"href", "text"}.
pub fn links(html: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut open: Option<(String, String)> = None;
    let mut close = |open: &mut Option<(String, String)>| {
        if let Some((href, text)) = open.take() {
            let text: Vec<&str> = text.split_whitespace().collect();
            all.push(object([("href", href.as_str().into()), ("text", text.join(" ").as_str().into())]));
        }
    };
    for token in (Tokens { rest: html, raw: None }) {
        match token {
            Token::Open(name, tag) if name == "a" => {
                close(&mut open);
                open = attribute(tag, "href").map(|href| (href.trim().to_string(), String::new()));
            }
            Token::Close(name) if name == "a" => close(&mut open),
            Token::Text(text) => {
                if let Some((_, into)) = &mut open {
                    into.push_str(&decode(text));
                }
            }
            _ => {}
        }
    }
    close(&mut open);
    all
}
