//! One template over one axis: refused at a place inside it, or filled; and what it became, with its braces doubled, is a
//! template that becomes the same.
//!
//! The input is a line of values with tabs between, then the template.

use std::collections::BTreeMap;

use croft_core::{
    ids::JobId,
    plan::Plan,
    spec::{self, Source},
};
use serde_json::{Value, json};

use super::spec::{card, inside, refused};

const VALUES_MAX: usize = 16;
/// Tasks that are looked at.
const TASKS_SEEN: u32 = 4;

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (values, template) = text.split_once('\n').unwrap_or(("", text));
    let mut known: Vec<&str> =
        values.split('\t').filter(|value| !value.is_empty()).take(VALUES_MAX).collect();
    known.sort_unstable();
    known.dedup();
    let rows: Vec<Value> =
        (0..).zip(&known).map(|(at, text)| json!({ "id": format!("v{at}"), "text": text })).collect();
    let axes = if rows.is_empty() { json!({}) } else { json!({ "word": rows, "take": "1-3" }) };
    let layer = json!({ "name": "a", "model": "m", "prompt": template });
    if let Some(plan) = plan(axes.clone(), layer) {
        let job = JobId::new(plan.name()).expect("the spec's own name");
        for task in 0..plan.layers()[0].tasks.min(TASKS_SEEN) {
            let prompt = plan.recipe(&job, 0, task).prompt;
            if !template.contains(['{', '}']) {
                assert_eq!(prompt, template);
            }
            again(&prompt);
        }
    }
    // The same where it names files: it is refused, or stays inside the store.
    let layer = json!({ "name": "a", "model": "m", "prompt": "x", "output": template });
    if let Some(plan) = self::plan(axes.clone(), layer) {
        let job = JobId::new(plan.name()).expect("the spec's own name");
        for task in 0..plan.layers()[0].tasks.min(TASKS_SEEN) {
            inside(&plan.recipe(&job, 0, task).output.frames_dir);
        }
    }
    // And where it becomes a number.
    let params = json!({ "steps": template, "seed": template });
    let layer =
        json!({ "name": "a", "model": "m", "prompt": "x", "output": "{word}-{take}", "params": params });
    self::plan(axes, layer);
}

fn again(prompt: &str) {
    let template = prompt.replace('{', "{{").replace('}', "}}");
    let layer = json!({ "name": "a", "model": "m", "prompt": template });
    // Some characters are none of YAML's; a cell of a file may hold them all the same.
    if let Some(plan) = plan(json!({}), layer) {
        let job = JobId::new(plan.name()).expect("the spec's own name");
        assert_eq!(plan.recipe(&job, 0, 0).prompt, prompt);
    }
}

fn plan(axes: Value, layer: Value) -> Option<Plan> {
    let spec =
        json!({ "apiVersion": "croft/v1", "kind": "Job", "name": "j", "axes": axes, "layers": [layer] });
    let text = spec.to_string();
    let source = Source { name: "fuzz.yaml", text: &text, files: &BTreeMap::new(), set: &[] };
    let planned =
        spec::parse(&source).and_then(|spec| Plan::new(spec, &[("m".to_owned(), card("m"))].into()));
    planned.inspect_err(|problems| refused(problems, &text, &[])).ok()
}
