//! What a spec says, as a number: the same for two texts that differ only in layout, comments, quotes or order of keys.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::tree::{Node, Value};

/// sha256, hex, over the tree as JSON with sorted keys, the order of the axes (it decides the order of tasks), and the
/// digest of each file it names.
pub(crate) fn of(root: &Node, axes: &[&str], files: &BTreeMap<String, String>) -> String {
    let mut json = String::from("{\"axes\":[");
    for (at, axis) in axes.iter().enumerate() {
        comma(at, &mut json);
        string(axis, &mut json);
    }
    json.push_str("],\"files\":{");
    for (at, (name, text)) in files.iter().enumerate() {
        comma(at, &mut json);
        string(name, &mut json);
        json.push(':');
        string(&hex(&Sha256::digest(text)), &mut json);
    }
    json.push_str("},\"spec\":");
    node(root, &mut json);
    json.push('}');
    hex(&Sha256::digest(json))
}

fn node(of: &Node, json: &mut String) {
    match &of.value {
        Value::Null => json.push_str("null"),
        Value::Scalar { text, .. } => string(text, json),
        Value::List(items) => {
            json.push('[');
            for (at, item) in items.iter().enumerate() {
                comma(at, json);
                node(item, json);
            }
            json.push(']');
        }
        Value::Map(entries) => {
            let sorted: BTreeMap<&str, &Node> =
                entries.iter().map(|entry| (entry.key.as_str(), &entry.node)).collect();
            json.push('{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                comma(at, json);
                string(key, json);
                json.push(':');
                node(value, json);
            }
            json.push('}');
        }
    }
}

fn comma(at: usize, json: &mut String) {
    if at > 0 {
        json.push(',');
    }
}

/// A JSON string.
pub(crate) fn string(text: &str, json: &mut String) {
    json.push_str(&serde_json::to_string(text).expect("text is always JSON"));
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes any text");
        hex
    })
}
