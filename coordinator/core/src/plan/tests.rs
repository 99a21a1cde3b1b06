//! Plans: numbers and values, names, parameters, and what is refused.

mod refused;

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, PlanRecord};
use crate::{
    ids::JobId,
    model_card::{Makes, ModelCard, ParamKind, ParamRule, ParamValue},
    spec::{self, Problem, Source},
};

const HEAD: &str = "apiVersion: croft/v1\nkind: Job\nname: shots\n";
const PROMPT_BYTES_MAX: usize = 100;

pub(crate) fn card(name: &str) -> ModelCard {
    let rule = |kind, default| ParamRule { kind, default };
    let number = |value| Some(ParamValue::Number(value));
    let params = [
        ("steps", rule(ParamKind::Whole { min: 1, max: 500, multiple: 1, remainder: 0 }, number(20.0))),
        ("num_frames", rule(ParamKind::Whole { min: 1, max: 257, multiple: 8, remainder: 1 }, number(17.0))),
        ("guidance", rule(ParamKind::Number { min: 1.0, max: 50.0 }, number(3.0))),
        (
            "size",
            rule(
                ParamKind::Size { multiple: 32, min: 32, max: 2048 },
                Some(ParamValue::Text("96x96".into())),
            ),
        ),
        ("decode_noise_scale", rule(ParamKind::Number { min: 0.0, max: 1.0 }, None)),
        ("loop", rule(ParamKind::Flag, Some(ParamValue::Flag(false)))),
        ("look", rule(ParamKind::Text { bytes_max: 8 }, None)),
    ];
    ModelCard {
        name: name.to_owned(),
        family: "test".to_owned(),
        digest: format!("digest-of-{name}"),
        parameters: 1,
        weights_bytes: 1,
        makes: match name {
            "still" => Makes::Still,
            "nothing" => Makes::Nothing,
            _ => Makes::Clip,
        },
        params: params.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect(),
        prompt_bytes_max: PROMPT_BYTES_MAX,
        ranks_max: 1,
        shape: None,
    }
}

fn planned(rest: &str) -> Result<Plan, Vec<Problem>> {
    let text = format!("{HEAD}{rest}");
    let spec = spec::parse(&Source { name: "test.yaml", text: &text, files: &BTreeMap::new(), set: &[] });
    let spec = spec.unwrap_or_else(|problems| panic!("{text}\n{}", told(&problems)));
    let cards = ["m", "still", "nothing"].map(|name| (name.to_owned(), card(name)));
    Plan::new(spec, &BTreeMap::from(cards))
}

fn good(rest: &str) -> Plan {
    planned(rest).unwrap_or_else(|problems| panic!("{rest}\n{}", told(&problems)))
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

fn job(name: &str) -> JobId {
    JobId::new(name).expect("a good name")
}

/// A layer with these further keys.
fn layer(keys: &str) -> String {
    format!("layers: [{{name: a, model: m, prompt: red, {keys}}}]\n")
}

fn labels(plan: &Plan) -> Vec<String> {
    (0..plan.layers()[0].tasks).map(|task| plan.label(0, task)).collect()
}

#[test]
fn a_product_goes_through_every_pair_the_last_axis_fastest() {
    let plan = good(&format!("axes: {{a: [x, y], b: [1, 2, 3]}}\n{}", layer("")));
    assert_eq!(labels(&plan), ["a=x b=1", "a=x b=2", "a=x b=3", "a=y b=1", "a=y b=2", "a=y b=3"]);
    assert_eq!(plan.arithmetic(), "a 2 x b 3 = 6, exclude removes 0");
    assert_eq!(plan.tasks(), 6);
}

#[test]
fn a_zip_goes_side_by_side_and_nests() {
    let axes = "axes: {a: [x, y], b: [1, 2], c: [p, q]}\n";
    let plan = good(&format!("{axes}matrix: {{combine: \"(a, b) * c\"}}\n{}", layer("")));
    assert_eq!(labels(&plan), ["a=x b=1 c=p", "a=x b=1 c=q", "a=y b=2 c=p", "a=y b=2 c=q"]);
    assert_eq!(plan.arithmetic(), "(a 2, b 2) x c 2 = 4, exclude removes 0");
    let axes = "axes: {a: [x, y], b: [1, 2], c: {range: 1-4}}\n";
    let plan = good(&format!("{axes}matrix: {{combine: \"(a * b, c)\"}}\n{}", layer("")));
    assert_eq!(labels(&plan), ["a=x b=1 c=1", "a=x b=2 c=2", "a=y b=1 c=3", "a=y b=2 c=4"]);
}

#[test]
fn every_number_has_its_own_values_with_and_without_exclude() {
    let axes = "axes: {a: {range: 1-7}, b: {from: 10, count: 7}, c: [p, q, r], d: {range: \"1-5\"}}\n";
    type Gone = fn(&BTreeMap<String, String>) -> bool;
    let cases: [(&str, &str, u64, Gone); 4] = [
        ("a * b * c * d", "", 7 * 7 * 3 * 5, |_| false),
        ("c * (a, b) * d", "{a: 3}, {c: q, d: [1, 5]}", 105 - 15 - 14 + 2, |v| {
            v["a"] == "3" || v["c"] == "q" && ["1", "5"].contains(&v["d"].as_str())
        }),
        ("d * (b, a)", "{a: [1, 7]}, {d: 5}", 4 * 5, |v| {
            ["1", "7"].contains(&v["a"].as_str()) || v["d"] == "5"
        }),
        ("a * b * c * d", "{a: 1, b: 10, c: p, d: 1}, {a: 7, b: 16, c: r, d: 5}", 735 - 2, |v| {
            let all = [&v["a"], &v["b"], &v["c"], &v["d"]];
            all == ["1", "10", "p", "1"] || all == ["7", "16", "r", "5"]
        }),
    ];
    for (combine, exclude, tasks, is_gone) in cases {
        let text = format!("{axes}matrix: {{combine: \"{combine}\", exclude: [{exclude}]}}\n{}", layer(""));
        let plan = good(&text);
        let values: Vec<_> = (0..plan.layers()[0].tasks).map(|task| plan.axes(0, task)).collect();
        assert_eq!(plan.tasks(), tasks, "{combine} {exclude}");
        assert_eq!(values.iter().collect::<BTreeSet<_>>().len() as u64, tasks, "{combine} {exclude}");
        assert!(!values.iter().any(is_gone), "{combine} {exclude}");
    }
}

#[test]
fn exclude_removes_what_matches_in_part() {
    let axes =
        "axes: {product: [{id: cap, kind: hat}, {id: tote, kind: bag}], scene: [beach, alley], n: [1, 2]}\n";
    let matrix = "matrix: {exclude: [{product: cap, scene: beach}, {product.kind: bag, n: 2}], expect: 4}\n";
    let plan = good(&format!("{axes}{matrix}{}", layer("")));
    let left = [
        "product=cap scene=alley n=1",
        "product=cap scene=alley n=2",
        "product=tote scene=beach n=1",
        "product=tote scene=alley n=1",
    ];
    assert_eq!(labels(&plan), left);
    assert_eq!(plan.arithmetic(), "product 2 x scene 2 x n 2 = 8, exclude removes 4");
    let idle = "axes: {a: [1, 2], b: [1, 2]}\nmatrix: {combine: \"(a, b)\", exclude: [{a: 1, b: 2}]}\n";
    assert_eq!(good(&format!("{idle}{}", layer(""))).warnings(), ["matrix.exclude[0] matches nothing"]);
}

#[test]
fn interleave_shows_every_value_early() {
    let axes = "axes: {scene: [a, b, c], n: [1, 2]}\npolicy: {order: interleave(scene)}\n";
    let plan = good(&format!("{axes}{}", layer("")));
    let started: Vec<String> = (0..6).map(|position| plan.label(0, plan.order(0, position))).collect();
    assert_eq!(
        started,
        ["scene=a n=1", "scene=b n=1", "scene=c n=1", "scene=a n=2", "scene=b n=2", "scene=c n=2"]
    );
}

#[test]
fn a_long_name_or_prompt_is_refused_with_its_length() {
    let long = "x".repeat(201);
    let told_of = |rest: &str| told(&planned(rest).expect_err("too long"));
    assert!(told_of(&layer(&format!("output: {long}"))).contains("has a part of 201 bytes, more than 200"));
    assert!(
        told_of(&layer(&format!("output: {}", "abc/".repeat(200) + "d")))
            .contains("has 801 bytes, more than 700")
    );
    let axes = format!("axes: {{a: [x, {}]}}\n", "y".repeat(PROMPT_BYTES_MAX));
    let told = told_of(&format!("{axes}layers: [{{name: a, model: m, prompt: \"a {{a}}\"}}]\n"));
    assert!(
        told.contains("layers[0].prompt: the prompt has 102 bytes, more than the 100 of its model (a=yyy"),
        "{told}"
    );
    // Two axes whose longest values never meet.
    let axes =
        format!("axes: {{a: [{0}, y], b: [x, {0}]}}\nmatrix: {{combine: \"(a, b)\"}}\n", "z".repeat(60));
    good(&format!("{axes}layers: [{{name: a, model: m, prompt: \"{{a}} {{b}}\"}}]\n"));
}

#[test]
fn a_value_that_only_excluded_tasks_have_is_not_checked() {
    let axes = "axes: {aspect: [96x96, 100x96]}\nmatrix: {exclude: [{aspect: 100x96}]}\n";
    let plan = good(&format!("{axes}{}", layer("params: {size: \"{aspect}\"}")));
    assert_eq!(plan.recipe(&job("shots"), 0, 0).params["size"], ParamValue::Text("96x96".into()));
}

#[test]
fn a_recipe_is_resolved() {
    let text = "show: acme\naxes: {product: [{id: tote, text: canvas tote}], aspect: [96x96, 64x96], seed: [7]}\nlayers:\n  \
                - {name: a, model: m, prompt: \"{{{product.text}}} of {show}\", negative_prompt: \"no {aspect}\", \
                params: {steps: 8, guidance: 3.5, size: \"{aspect}\", loop: true}, dtype: bf16, png: 16, \
                output: \"{show}/{job}/{layer}/{product}_{aspect}_s{seed}_{task}\"}\n";
    let plan = good(text);
    let recipe = plan.recipe(&job("shots-2"), 0, 1);
    assert_eq!(recipe.prompt, "{canvas tote} of acme");
    assert_eq!(recipe.negative_prompt, "no 64x96");
    assert_eq!(
        (recipe.seed, recipe.dtype.as_str(), recipe.model_digest.as_str()),
        (7, "bf16", "digest-of-m")
    );
    let params: Vec<_> = recipe.params.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let wanted = [
        "guidance=Number(3.5)",
        "loop=Flag(true)",
        "num_frames=Number(17.0)",
        "size=Text(\"64x96\")",
        "steps=Number(8.0)",
    ];
    assert_eq!(params, wanted);
    let stem = "acme/shots-2/a/tote_64x96_s7_0002";
    let output = recipe.output;
    assert_eq!((output.makes, output.png_bits, output.still.as_str()), (Makes::Clip, 16, ""));
    assert_eq!(
        [output.frames_dir, output.preview, output.sidecar],
        [stem.to_owned(), format!("{stem}.mp4"), format!("{stem}.json")]
    );
    assert_eq!(plan.layers()[0].params["size"], ParamValue::Text("{aspect}".into()));
    let axes = plan.axes(0, 1);
    assert_eq!(axes["product"], "tote");
    assert_eq!(axes["product.text"], "canvas tote");
    let sidecar: serde_json::Value =
        serde_json::from_str(&plan.sidecar(&job("shots-2"), 0, 1)).expect("JSON");
    assert_eq!(sidecar["task"], "shots-2/a/0002");
    assert_eq!(sidecar["axes"]["aspect"], "64x96");
    assert_eq!(sidecar["spec_digest"], plan.spec_digest());
}

#[test]
fn outputs_follow_what_the_model_makes() {
    let output = |model: &str, keys: &str| {
        let plan = good(&format!("layers: [{{name: a, model: {model}, prompt: x, {keys}}}]\n"));
        let output = plan.recipe(&job("shots"), 0, 0).output;
        [output.frames_dir, output.still, output.preview, output.sidecar]
    };
    assert_eq!(output("m", ""), ["shots/a/0001", "", "shots/a/0001.mp4", "shots/a/0001.json"]);
    assert_eq!(output("m", "output: c, preview: false"), ["c", "", "", "c.json"]);
    assert_eq!(output("m", "output: c, preview: p/c.mp4"), ["c", "", "p/c.mp4", "c.json"]);
    for name in ["c", "c.png"] {
        assert_eq!(output("still", &format!("output: {name}")), ["", "c.png", "", "c.json"]);
    }
    assert_eq!(output("nothing", "output: ../c"), ["", "", "", ""]);
}

#[test]
fn a_seed_left_out_is_the_same_for_ever_and_in_every_layer() {
    let layers = "layers: [{name: draft, model: m, prompt: x}, {name: final, after: draft}]\n";
    let plan = good(&format!("axes: {{a: [x, y]}}\n{layers}"));
    let seed = |plan: &Plan, job_name: &str, layer, task| plan.recipe(&job(job_name), layer, task).seed;
    assert_eq!(seed(&plan, "shots", 0, 0), 59_735_487, "pictures of stored jobs hang on it");
    assert_eq!(seed(&plan, "shots-2", 0, 0), seed(&plan, "shots", 1, 0));
    assert_ne!(seed(&plan, "shots", 0, 0), seed(&plan, "shots", 0, 1));
    // More values, also before it, and axes that are not combined, change nothing.
    let grown = good(&format!("axes: {{a: [w, x, y], seed: [1]}}\nmatrix: {{combine: a}}\n{layers}"));
    assert_eq!(seed(&grown, "shots", 0, 1), seed(&plan, "shots", 0, 0));
    let named = good(&format!("axes: {{a: [x, y]}}\n{}", layer("output: \"{a}_{seed}\"")));
    let recipe = named.recipe(&job("shots"), 0, 0);
    assert_eq!(recipe.output.frames_dir, format!("x_{}", recipe.seed));
    assert_eq!(good(&layer("seed: 18446744073709551615")).recipe(&job("shots"), 0, 0).seed, u64::MAX);
    let own = good(&format!("axes: {{take: [5, 6]}}\n{}", layer("params: {seed: \"1{take}\"}")));
    assert_eq!(own.recipe(&job("shots"), 0, 1).seed, 16);
}

#[test]
fn a_recorded_plan_is_made_again() {
    let text = format!(
        "{HEAD}axes: {{scene: {{file: s.csv, id: id}}}}\nlayers: [{{name: a, model: m, prompt: \"{{scene.mood}}\"}}]\n"
    );
    let files = BTreeMap::from([("s.csv".to_owned(), b"id,mood\nbeach,sun\n".to_vec())]);
    let set = ["params.steps=9".to_owned(), "labels.client=acme".to_owned()];
    let spec = spec::parse(&Source { name: "test.yaml", text: &text, files: &files, set: &set })
        .expect("a good spec");
    let plan = Plan::new(spec, &BTreeMap::from([("m".to_owned(), card("m")), ("b".to_owned(), card("b"))]))
        .expect("good");
    let json = serde_json::to_vec(plan.record()).expect("JSON");
    let record: PlanRecord = serde_json::from_slice(&json).expect("a record");
    assert!(record.cards.keys().eq(["m"]), "only cards that are used are kept");
    let again = Plan::from_record(record).expect("the plan was good");
    assert_eq!(again.recipe(&job("shots"), 0, 0), plan.recipe(&job("shots"), 0, 0));
    assert_eq!(again.recipe(&job("shots"), 0, 0).params["steps"], ParamValue::Number(9.0));
    assert_eq!((again.spec_digest(), again.labels()), (plan.spec_digest(), plan.labels()));
}

#[test]
fn layers_wait_task_by_task() {
    let plan = good("layers: [{name: b, after: a}, {name: a, model: m, prompt: x}]\n");
    assert_eq!(plan.layers().iter().map(|layer| layer.after).collect::<Vec<_>>(), [Some(1), None]);
    assert_eq!((plan.after_each(0), plan.after_each(1), plan.tasks()), (true, false, 2));
}

#[test]
fn the_examples_are_good() {
    let cards = BTreeMap::from([("builtin://shapes".to_owned(), card("builtin://shapes"))]);
    for (text, tasks) in [
        (include_str!("../../../../examples/campaign.yaml"), 24),
        (include_str!("../../../../examples/shot.yaml"), 1),
    ] {
        let spec = spec::parse(&Source { name: "example", text, files: &BTreeMap::new(), set: &[] });
        let plan = Plan::new(spec.expect("a good spec"), &cards).expect("a good plan");
        assert_eq!((plan.tasks(), plan.warnings().len()), (tasks, 0));
    }
}
