//! places finds cities and distances in a table that it carries.

#[path = "../../kit/templates/rust/json.rs"]
mod json;
#[path = "../../kit/templates/rust/tool.rs"]
mod tool;

use json::{object, Value};
use tool::Failure;

/// Name, country (ISO 3166-1), latitude and longitude in degrees to the hundredth, which is about a kilometre.
const TABLE: &str = include_str!("places.tsv");

/// Mean radius of the Earth (IUGG).
const EARTH_KM: f64 = 6371.0088;

#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    country: &'static str,
    latitude: f64,
    longitude: f64,
}

fn places() -> impl Iterator<Item = Place> {
    TABLE.lines().filter_map(|line| {
        let mut cells = line.split('\t');
        Some(Place {
            name: cells.next()?,
            country: cells.next()?,
            latitude: cells.next()?.parse().ok()?,
            longitude: cells.next()?.parse().ok()?,
        })
    })
}

impl Place {
    fn json(&self) -> Vec<(String, Value)> {
        let members = [
            ("name", self.name.into()),
            ("country", self.country.into()),
            ("latitude", self.latitude.into()),
            ("longitude", self.longitude.into()),
        ];
        members.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

/// Lower case without accents and signs, so that "sao paulo" finds São Paulo.
fn fold(name: &str) -> String {
    let plain = |c: char| match c {
        'á' | 'à' | 'â' | 'ã' | 'ä' | 'å' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'é' | 'è' | 'ê' | 'ë' | 'ę' => 'e',
        'í' | 'ì' | 'î' | 'ï' | 'ı' => 'i',
        'ł' => 'l',
        'ñ' | 'ń' => 'n',
        'ó' | 'ò' | 'ô' | 'õ' | 'ö' | 'ø' => 'o',
        'ș' | 'ş' | 'ś' | 'š' => 's',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ý' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        c => c,
    };
    name.to_lowercase().chars().map(plain).filter(|c| c.is_alphanumeric()).collect()
}

/// How well a place answers to a name: smaller is better, None not at all.
fn score(name: &str, wanted: &str) -> Option<usize> {
    let name = fold(name);
    if name == wanted {
        Some(0)
    } else if name.starts_with(wanted) {
        Some(1)
    } else if wanted.len() >= 3 && name.contains(wanted) {
        Some(2)
    } else {
        // One wrong letter in five is a slip.
        let slips = distance(&name, wanted);
        (slips <= wanted.chars().count() / 5).then_some(2 + slips)
    }
}

/// Levenshtein's: letters to insert, delete or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn search(wanted: &str, country: &str) -> Vec<Place> {
    let folded = fold(wanted);
    let folded: String = folded.chars().take(60).collect();
    if folded.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(usize, Place)> = places()
        .filter(|p| country.is_empty() || p.country.eq_ignore_ascii_case(country))
        .filter_map(|p| Some((score(p.name, &folded)?, p)))
        .collect();
    found.sort_by_key(|(score, _)| *score); // stable: the table's order among equals
    found.into_iter().map(|(_, place)| place).collect()
}

/// Kilometres on a great circle (haversine formula).
fn kilometres(a: &Place, b: &Place) -> f64 {
    let half = |x: f64| (x.to_radians() / 2.0).sin().powi(2);
    let h = half(b.latitude - a.latitude)
        + a.latitude.to_radians().cos() * b.latitude.to_radians().cos() * half(b.longitude - a.longitude);
    2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
}

fn tenths(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

fn limit(arguments: &Value) -> Result<usize, Failure> {
    Ok(tool::number_or(arguments, "limit", 5.0)?.clamp(1.0, 50.0) as usize)
}

fn find(arguments: &Value) -> Result<String, Failure> {
    let name = tool::string(arguments, "name")?;
    let country = arguments.get("country").and_then(Value::as_str).unwrap_or("");
    let found = search(name, country).into_iter().take(limit(arguments)?);
    Ok(object([("places", Value::Array(found.map(|p| Value::Object(p.json())).collect()))]).to_string())
}

fn nearest(arguments: &Value) -> Result<String, Failure> {
    let here = Place {
        name: "",
        country: "",
        latitude: tool::number(arguments, "latitude")?,
        longitude: tool::number(arguments, "longitude")?,
    };
    if here.latitude.abs() > 90.0 || here.longitude.abs() > 180.0 {
        return tool::bad("latitude must be -90 to 90 and longitude -180 to 180");
    }
    let mut near: Vec<(f64, Place)> = places().map(|p| (kilometres(&here, &p), p)).collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    let with_distance = |(km, place): (f64, Place)| {
        let mut members = place.json();
        members.push(("kilometres".to_string(), tenths(km).into()));
        Value::Object(members)
    };
    let near = near.into_iter().take(limit(arguments)?).map(with_distance).collect();
    Ok(object([("places", Value::Array(near))]).to_string())
}

fn between(arguments: &Value) -> Result<String, Failure> {
    let one = |argument: &str| {
        let name = tool::string(arguments, argument)?;
        match search(name, "").first() {
            Some(place) => Ok(*place),
            None => tool::bad(format!("{argument} is {name:?}, which is not in the table; find takes parts of names")),
        }
    };
    let (from, to) = (one("from")?, one("to")?);
    Ok(object([
        ("from", Value::Object(from.json())),
        ("to", Value::Object(to.json())),
        ("kilometres", tenths(kilometres(&from, &to)).into()),
    ])
    .to_string())
}

fn main() {
    tool::main(|name, arguments| match name {
        "find" => find(arguments),
        "nearest" => nearest(arguments),
        "distance" => between(arguments),
        _ => tool::failed(format!("no tool is called {name:?}")),
    })
}
