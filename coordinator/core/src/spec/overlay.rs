//! `--set path=value`: values laid over a spec before it is checked.
//!
//! A path is keys and numbers with dots between; a layer may be named by its number or its name. A key of layers
//! without a layer (`params.steps=8`) is meant for every one. What the path leads over is made as needed.

use super::{
    layer,
    report::{Place, Problem, quoted},
    tree::{self, Entry, Node, Value},
};
use crate::spec::report::Report;

/// Overrides of one spec.
const SETS_MAX: usize = 1000;
/// Keys and numbers in a path.
const PATH_MAX: usize = 8;

/// Lays `set` over the tree, one after another.
pub(crate) fn lay(root: &mut Node, set: &[String], report: &mut Report) {
    if set.len() > SETS_MAX {
        let message = format!("{} values, more than {SETS_MAX}", set.len());
        report.push(Place::default().problem(message, "write them into the spec"));
        return;
    }
    for pair in set {
        if let Err(problem) = one(root, pair, report) {
            report.push(problem);
        }
    }
}

fn one(root: &mut Node, pair: &str, report: &mut Report) -> Result<(), Problem> {
    let (path, value) = pair.split_once('=').ok_or_else(|| {
        Place::default()
            .problem(format!("{} has no '='", quoted(pair)), "write 'path=value', as in 'params.steps=8'")
    })?;
    let place = Place { field: path.trim().chars().take(200).collect(), ..Place::default() };
    let keys: Vec<&str> = path.trim().split('.').collect();
    if keys.len() > PATH_MAX || keys.iter().any(|key| key.is_empty()) {
        let message = format!("a path has 1 to {PATH_MAX} keys with dots between");
        return Err(place.problem(message, "write it as in 'layers.0.params.steps=8'"));
    }
    let node = read(value, &place, report)?;
    // `name` is a key of the job as well, and there it is meant.
    let is_every = keys[0] != "name" && layer::KEYS.contains(&keys[0]);
    if !is_every {
        return put(root, &keys, node, &place);
    }
    let layers = entry(root, "layers").and_then(|layers| match &mut layers.value {
        Value::List(items) => Some(items),
        _ => None,
    });
    let Some(layers) = layers else {
        return Err(place.problem("there are no layers to lay it over", "add 'layers:' to the spec"));
    };
    layers.iter_mut().try_for_each(|layer| put(layer, &keys, node.clone(), &place))
}

/// Lists, maps and quoted text are YAML; anything else is taken as it stands.
fn read(value: &str, place: &Place, report: &mut Report) -> Result<Node, Problem> {
    let value = value.trim();
    let mut node = if value.starts_with(['{', '[', '"', '\'']) {
        tree::read(value, report).map_err(|problem| place.problem(problem.message, problem.remedy))?
    } else if matches!(value, "" | "~" | "null") {
        Node { line: 0, column: 0, value: Value::Null }
    } else {
        Node { line: 0, column: 0, value: Value::Scalar { text: value.to_owned(), lead: None } }
    };
    forget_places(&mut node);
    Ok(node)
}

fn forget_places(node: &mut Node) {
    (node.line, node.column) = (0, 0);
    match &mut node.value {
        Value::Null | Value::Scalar { .. } => {}
        Value::List(items) => items.iter_mut().for_each(forget_places),
        Value::Map(entries) => {
            for entry in entries {
                (entry.line, entry.column) = (0, 0);
                forget_places(&mut entry.node);
            }
        }
    }
}

fn entry<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
}

fn put(mut node: &mut Node, keys: &[&str], value: Node, place: &Place) -> Result<(), Problem> {
    for key in keys {
        if matches!(node.value, Value::Null) {
            node.value = Value::Map(Vec::new());
        }
        node = match &mut node.value {
            Value::List(items) => {
                let named = items.iter().position(|item| {
                    matches!(item.get("name").map(|name| &name.value), Some(Value::Scalar { text, .. }) if text == key)
                });
                let at = named.or_else(|| key.parse().ok()).filter(|at| *at < items.len());
                let count = items.len();
                match at.and_then(|at| items.get_mut(at)) {
                    Some(item) => item,
                    None => {
                        let message = format!("{} is none of the {count} items", quoted(key));
                        return Err(place.problem(message, "count from 0, or give a layer's name"));
                    }
                }
            }
            Value::Map(entries) => {
                let at = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                    let node = Node { line: 0, column: 0, value: Value::Null };
                    entries.push(Entry { key: (*key).to_owned(), line: 0, column: 0, node });
                    entries.len() - 1
                });
                &mut entries[at].node
            }
            Value::Scalar { .. } | Value::Null => {
                let message = format!("{} lies in a single value", quoted(key));
                return Err(place.problem(message, "set the value itself"));
            }
        };
    }
    *node = value;
    Ok(())
}
