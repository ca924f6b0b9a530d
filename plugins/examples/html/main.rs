//! html turns web pages into text that is short to read.

#[path = "../../kit/templates/rust/json.rs"]
mod json;
#[path = "../../kit/templates/rust/tool.rs"]
mod tool;

mod page;

use json::Value;

fn call(name: &str, arguments: &Value) -> Result<String, tool::Failure> {
    let html = tool::string(arguments, "html")?;
    match name {
        "to_text" => {
            let links = arguments.get("links").and_then(Value::as_bool).unwrap_or(false);
            let max = tool::number_or(arguments, "max_chars", 20_000.0)?;
            if !(max >= 1.0) {
                return tool::bad("max_chars must be 1 or more");
            }
            Ok(cut(&page::text(html, links), max as usize))
        }
        "links" => Ok(json::object([("links", Value::Array(page::links(html)))]).to_string()),
        _ => tool::failed(format!("no tool is called {name:?}")),
    }
}

/// The first max characters, with a note how many are missing.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_string(),
        Some((end, _)) => format!("{}\n[{} more characters]", &text[..end], text[end..].chars().count()),
    }
}

fn main() {
    tool::main(call)
}
