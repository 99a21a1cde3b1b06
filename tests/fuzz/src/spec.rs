//! A spec with its files and overrides, as a client sends it: refused with places inside the text, or planned, and then
//! every task that is looked at has names inside the store, and the record makes the same plan again.
//!
//! The input is the spec's text; a line `%%% file NAME` begins a file, a line `%%% set` begins overrides, one a line.

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
};

use croft_core::{
    ids::JobId,
    model_card::{Makes, ModelCard, ParamKind, ParamRule, ParamValue},
    plan::{Plan, TASKS_MAX},
    spec::{self, Problem, Source},
    split::Shape,
};

/// Larger plans are right and slow; their bounds are held by ordinary tests.
const TASKS_PLANNED: u128 = 2_000;
/// Tasks that are looked at.
const TASKS_SEEN: u32 = 8;

pub fn run(input: &[u8]) {
    let Some((text, files, set)) = parts(input) else { return };
    // Which files a client sends is found without a report.
    let named = spec::files_named(text);
    let source = Source { name: "fuzz.yaml", text, files: &files, set: &set };
    match spec::parse(&source) {
        Err(problems) => refused(&problems, text, &set),
        Ok(spec) => {
            let again = spec::parse(&source).expect("it was read a moment ago");
            assert_eq!(spec.digest(), again.digest());
            assert!(!set.is_empty() || named.iter().all(|name| files.contains_key(name)), "{named:?}");
            if spec.combinations() > TASKS_PLANNED {
                return;
            }
            let cards = spec.models().into_iter().map(|name| (name.clone(), card(&name))).collect();
            match Plan::new(spec, &cards) {
                Err(problems) => refused(&problems, text, &set),
                Ok(plan) => planned(&plan),
            }
        }
    }
}

type Parts<'a> = (&'a str, BTreeMap<String, Vec<u8>>, Vec<String>);

fn parts(input: &[u8]) -> Option<Parts<'_>> {
    let (text, mut rest) = cut(input);
    let text = std::str::from_utf8(text).ok()?;
    let (mut files, mut set) = (BTreeMap::new(), Vec::new());
    while let Some(part) = rest {
        let (part, next) = cut(part);
        let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
        let head = std::str::from_utf8(&part[..end]).ok()?;
        let body = part.get(end + 1..).unwrap_or_default();
        match head.split_once(' ') {
            Some(("file", name)) => drop(files.insert(name.to_owned(), body.to_vec())),
            _ => set.extend(std::str::from_utf8(body).ok()?.lines().map(str::to_owned)),
        }
        rest = next;
    }
    Some((text, files, set))
}

/// Up to the next mark, and what follows it.
fn cut(input: &[u8]) -> (&[u8], Option<&[u8]>) {
    const MARK: &[u8] = b"\n%%% ";
    match input.windows(MARK.len()).position(|window| window == MARK) {
        Some(at) => (&input[..at + 1], Some(&input[at + MARK.len()..])),
        None => (input, None),
    }
}

/// Problems have a bound, words, and places that an editor can go to.
pub(crate) fn refused(problems: &[Problem], text: &str, set: &[String]) {
    assert!((1..=50).contains(&problems.len()), "{} problems", problems.len());
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    for problem in problems {
        assert!(!problem.message.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
        assert!(!problem.to_string().contains('\n'), "{problem:?}");
        if problem.line == 0 {
            assert!(!set.is_empty(), "{problem:?} blames an override, and there is none");
            continue;
        }
        // The end of the text is a place as well.
        assert!(problem.line as usize <= lines.len() + 1, "{problem:?} in {} lines", lines.len());
        assert!((1..=widest + 2).contains(&(problem.column as usize)), "{problem:?}, widest {widest}");
    }
}

fn planned(plan: &Plan) {
    assert!((1..=TASKS_MAX).contains(&plan.tasks()), "{} tasks", plan.tasks());
    let job = JobId::new(plan.name()).expect("a spec's name names a job");
    let mut outputs = BTreeSet::new();
    for (at, layer) in (0..).zip(plan.layers()) {
        let last = layer.tasks.saturating_sub(1);
        for task in (0..layer.tasks.min(TASKS_SEEN)).chain([last]).collect::<BTreeSet<_>>() {
            assert!(plan.order(at, task) < layer.tasks);
            let recipe = plan.recipe(&job, at, task);
            assert!(recipe.prompt.len() <= layer.card.prompt_bytes_max, "{} bytes", recipe.prompt.len());
            for name in [&recipe.output.frames_dir, &recipe.output.still, &recipe.output.preview] {
                inside(name);
                assert!(name.is_empty() || outputs.insert(name.to_lowercase()), "two tasks write '{name}'");
            }
            let sidecar = plan.sidecar(&job, at, task);
            serde_json::from_str::<serde_json::Value>(&sidecar).expect("a sidecar is JSON");
            black_box((plan.axes(at, task), plan.label(at, task)));
        }
    }
    let record = serde_json::to_vec(plan.record()).expect("a record is JSON");
    let record = serde_json::from_slice(&record).expect("and read again");
    let again = Plan::from_record(record).expect("the record of a plan makes a plan");
    assert_eq!((again.tasks(), again.spec_digest()), (plan.tasks(), plan.spec_digest()));
    assert_eq!(again.recipe(&job, 0, 0), plan.recipe(&job, 0, 0));
}

/// A name that leaves no folder.
pub(crate) fn inside(name: &str) {
    let is_inside = name.is_empty()
        || (!name.starts_with('/')
            && !name.contains(['\\', '\0'])
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
    assert!(is_inside, "'{name}' is outside of the store");
}

/// A card like that of LTX-Video; of a `still`, a picture's.
pub(crate) fn card(name: &str) -> ModelCard {
    let rule = |kind, default| ParamRule { kind, default };
    let number = |value| Some(ParamValue::Number(value));
    let size = Some(ParamValue::Text("704x512".to_owned()));
    let params = [
        ("steps", rule(ParamKind::Whole { min: 1, max: 500, multiple: 1, remainder: 0 }, number(50.0))),
        (
            "num_frames",
            rule(ParamKind::Whole { min: 1, max: 1025, multiple: 8, remainder: 1 }, number(161.0)),
        ),
        ("guidance", rule(ParamKind::Number { min: 1.0, max: 50.0 }, number(3.0))),
        ("size", rule(ParamKind::Size { multiple: 32, min: 32, max: 2048 }, size)),
        ("decode_noise_scale", rule(ParamKind::Number { min: 0.0, max: 1.0 }, None)),
        ("vae_tiling", rule(ParamKind::Flag, Some(ParamValue::Flag(false)))),
        ("look", rule(ParamKind::Text { bytes_max: 8 }, None)),
    ];
    ModelCard {
        name: name.to_owned(),
        family: "fuzz".to_owned(),
        digest: "0".repeat(64),
        parameters: 1,
        weights_bytes: 1,
        makes: match name {
            "still" => Makes::Still,
            "nothing" => Makes::Nothing,
            _ => Makes::Clip,
        },
        params: params.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect(),
        prompt_bytes_max: 4_096,
        ranks_max: 8,
        shape: Some(shape()),
    }
}

fn shape() -> Shape {
    Shape {
        text: 4_700_000_000,
        blocks: 1_850_000_000,
        rest: 80_000_000,
        decoder: 500_000_000,
        layers: 28,
        heads: 32,
        text_heads: 64,
        text_layers: 24,
        width: 2_048,
        channels: 128,
        frames_per_latent: 8,
        pixels_per_latent: 32,
        decoded_per_pixel: 8,
    }
}
