//! What every tool does: read the arguments, and end as the host expects it.
#![allow(dead_code)]

use crate::json::{self, Value};
use std::io::Read;

/// Why a call ends without a result. The model reads the text.
pub enum Failure {
    BadArguments(String),
    Failed(String),
}

pub fn bad<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::BadArguments(text.into()))
}

pub fn failed<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Failed(text.into()))
}

/// Calls the tool that the host asks for and ends the program.
pub fn main(call: fn(tool: &str, arguments: &Value) -> Result<String, Failure>) -> ! {
    let name = std::env::args().nth(1).unwrap_or_default();
    let code = match arguments().and_then(|arguments| call(&name, &arguments)) {
        Ok(result) => {
            print!("{result}");
            0
        }
        Err(Failure::Failed(text)) => {
            eprintln!("{text}");
            1
        }
        Err(Failure::BadArguments(text)) => {
            eprintln!("{text}");
            2
        }
    };
    std::process::exit(code)
}

fn arguments() -> Result<Value, Failure> {
    let mut text = String::new();
    if std::io::stdin().read_to_string(&mut text).is_err() {
        return bad("the arguments must be UTF-8");
    }
    match json::parse(&text) {
        Some(arguments @ Value::Object(_)) => Ok(arguments),
        _ => bad("the arguments must be one JSON object"),
    }
}

pub fn string<'a>(arguments: &'a Value, name: &str) -> Result<&'a str, Failure> {
    match arguments.get(name).and_then(Value::as_str) {
        Some(s) => Ok(s),
        None => bad(format!("{name} must be a string")),
    }
}

pub fn number(arguments: &Value, name: &str) -> Result<f64, Failure> {
    match arguments.get(name).and_then(Value::as_f64) {
        Some(n) => Ok(n),
        None => bad(format!("{name} must be a number")),
    }
}

/// A number that may be absent.
pub fn number_or(arguments: &Value, name: &str, otherwise: f64) -> Result<f64, Failure> {
    if arguments.get(name).is_none() { Ok(otherwise) } else { number(arguments, name) }
}
