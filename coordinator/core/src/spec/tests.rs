//! Rude specs, each with the place and the words that must come back.

use std::collections::BTreeMap;

use super::{NoProgress, Problem, SPEC_BYTES_MAX, Source, Spec, files_named, parse};

const HEAD: &str = "apiVersion: croft/v1\nkind: Job\nname: shots\n";
const LAYER: &str = "layers: [{name: a, model: m, prompt: red}]\n";

fn read(text: &str) -> Result<Spec, Vec<Problem>> {
    read_with(text, &[], &[])
}

fn read_with(text: &str, files: &[(&str, &str)], set: &[&str]) -> Result<Spec, Vec<Problem>> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
    parse(&Source { name: "test.yaml", text, files: &files, set: &set })
}

fn refused(text: &str) -> String {
    let problems = read(text).expect_err(text);
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// The rest of a spec after its head (three lines), and what must be told of it.
const RUDE: &[(&str, &str)] = &[
    // Keys.
    ("prority: 5\n", "4:1: prority: unknown key 'prority'; did you mean 'priority'?"),
    ("layers: [{name: a, model: m, prompt: red, promt: x}]\n", "4:43: layers[0].promt: unknown key 'promt'"),
    ("policy: {retry: 3}\n", "4:10: policy.retry: unknown key 'retry'; did you mean 'retries'?"),
    ("policy: {timeout: {totl: 3m}}\n", "policy.timeout.totl: unknown key 'totl'; did you mean 'total'?"),
    ("name: again\n", "4:1: name: key 'name' is given twice, first in line 3; keep one of them"),
    ("labels: {a: 1, a: 2}\n", "4:16: labels.a: key 'a' is given twice"),
    // What YAML can do and a spec may not.
    ("axes: {a: &x [1, 2], b: *x}\n", "4:11: axes.a: anchors and aliases ('&' and '*') are not read"),
    ("labels: {<<: {a: b}}\n", "4:10: labels.<<: merge keys are not read; write the merged keys out"),
    ("labels: {a: !!str 5}\n", "tags ('!…') are not read"),
    ("---\nname: other\n", "a second document begins here; one file holds one job"),
    ("labels: {a: [}\n", "4:14: not YAML: "),
    ("labels: {[a, b]: c}\n", "4:10: labels: a key must be a word"),
    ("axes: [1, 2]\n", "4:7: axes: is a list, must be a map"),
    // Numbers and words.
    (
        "priority: 101\n",
        "4:11: priority: '101' is no whole number from 0 to 100; write a whole number from 0 to 100",
    ),
    ("priority: .nan\n", "4:11: priority: '.nan' is no whole number"),
    ("priority: 5.5\n", "priority: '5.5' is no whole number"),
    ("show: Acme Spring\n", "4:7: show: 'Acme Spring' cannot be a name; use 1 to 63 of a-z"),
    ("policy: {retries: -1}\n", "4:19: policy.retries: '-1' is no whole number from 0 to 100"),
    ("policy: {timeout: {total: 10}}\n", "policy.timeout.total: '10' is no duration"),
    ("policy: {timeout: {no_progress: 0.5x}}\n", "'0.5x' is not 1x to 1000x; write '8x'"),
    ("policy: {timeout: {no_progress: NaNx}}\n", "'NaNx' is not 1x to 1000x"),
    (
        "policy: {order: interleave(scen)}\naxes: {scene: [a]}\n",
        "4:17: policy.order: 'scen' names no axis; did you mean 'scene'?",
    ),
    ("policy: {order: shuffled}\n", "'shuffled' is no order; write 'natural' or 'interleave(axis)'"),
    // Axes.
    ("axes: {seed: []}\n", "4:14: axes.seed: has no values"),
    ("axes: {seed: [1, 2, 1]}\n", "4:8: axes.seed: has '1' twice"),
    ("axes: {seed: [one]}\n", "axes.seed: 'one' is no seed; seeds are whole numbers from 0 on"),
    ("axes: {seed: {from: -1, count: 3}}\n", "axes.seed: seed -1 is below 0"),
    ("axes: {seed: {from: 1}}\n", "4:14: axes.seed: has no count"),
    (
        "axes: {seed: {from: 1, count: 2000000}}\n",
        "4:31: axes.seed.count: '2000000' is no whole number from 1 to 1000000",
    ),
    ("axes: {seed: {from: 1, count: 4, step: 0}}\n", "axes.seed: has a step of 0"),
    (
        "axes: {seed: {from: 9223372036854775807, count: 2}}\n",
        "axes.seed.count: leaves the range of 64-bit numbers",
    ),
    ("axes: {seed: \"1-1000000000000\"}\n", "4:14: axes.seed: has more than 1000000 values"),
    ("axes: {shot: \"5-1\"}\n", "axes.shot: never gets from 5 to 1 by steps of 1"),
    ("axes: {shot: \"1-3,2\"}\n", "axes.shot: has 2 twice"),
    ("axes: {shot: \"1-9:0\"}\n", "axes.shot: has a step of 0"),
    ("axes: {look: warm}\n", "4:14: axes.look: 'warm' is no range; write a range as '1001-1100:2'"),
    ("axes: {look: [a, {id: b}]}\n", "4:18: axes.look[1]: is a map, must be one value"),
    ("axes: {look: [{id: b}, a]}\n", "4:24: axes.look[1]: is a single value, must be a map"),
    ("axes: {look: [{id: b, text: x}, {id: c}]}\n", "4:33: axes.look[1]: has no 'text'"),
    ("axes: {look: [{id: b}, {id: c, txt: x}]}\n", "4:32: axes.look[1].txt: the first value has no 'txt'"),
    ("axes: {look: [{text: b}]}\n", "4:15: axes.look[0]: there is no column 'id' to name the values by"),
    ("axes: {layer: [a]}\n", "4:8: axes.layer: '{layer}' already means something in templates"),
    ("axes: {\"a b\": [a]}\n", "'a b' is no name for an axis"),
    (
        "axes: {scene: {file: scenes.csv}}\n",
        "4:22: axes.scene.file: file 'scenes.csv' is not there; put it beside the spec",
    ),
    ("axes: {scene: {file: a.csv, range: 1-2}}\n", "axes.scene: must have one of from, range and file"),
    // Combination.
    (
        "axes: {a: [1], b: [1]}\nmatrix: {combine: \"a * c\"}\n",
        "5:24: matrix.combine: at character 5 of 'a * c': 'c' names no axis",
    ),
    (
        "axes: {scene: [1]}\nmatrix: {combine: scen}\n",
        "5:19: matrix.combine: at character 1 of 'scen': 'scen' names no axis; did you mean 'scene'?",
    ),
    (
        "axes: {a: [1]}\nmatrix: {combine: a * a}\n",
        "5:23: matrix.combine: at character 5 of 'a * a': axis 'a' is used twice",
    ),
    (
        "axes: {a: [1], b: [1]}\nmatrix: {combine: \"(a, b\"}\n",
        "5:25: matrix.combine: at character 6 of '(a, b': a ')' is missing",
    ),
    (
        "axes: {a: [1]}\nmatrix: {combine: \"a *\"}\n",
        "5:23: matrix.combine: at character 4 of 'a *': the expression ends where an axis should be named",
    ),
    ("axes: {a: [1], b: [1]}\nmatrix: {combine: a b}\n", "at character 3 of 'a b': unexpected 'b'"),
    (
        "axes: {a: [x, y]}\nmatrix: {exclude: [{a: z}]}\n",
        "5:24: matrix.exclude[0].a: axis 'a' has no value 'z'; known here: x, y",
    ),
    (
        "axes: {a: [x]}\nmatrix: {exclude: [{}]}\n",
        "5:20: matrix.exclude[0]: names no axis, so it would remove everything",
    ),
    ("axes: {a: [x]}\nmatrix: {expect: 0}\n", "matrix.expect: '0' is no whole number from 1 to 1000000"),
    (
        "axes: {a: [x], b: [y]}\nmatrix: {combine: a}\nlayers: [{name: l, model: m, prompt: \"{b}\"}]\n",
        "6:39: layers[0].prompt: axis 'b' is not in matrix.combine; add it, or leave the axis out here",
    ),
    // Layers and templates.
    ("layers: []\n", "4:9: layers: 0 layers; 1 to 32 can be"),
    ("layers: [{name: a, prompt: x}]\n", "4:10: layers[0]: has no model"),
    ("layers: [{name: a, model: m}]\n", "4:10: layers[0]: has no prompt"),
    ("layers: [{model: m, prompt: x}]\n", "4:10: layers[0]: has no name"),
    ("layers: [{name: A/b, model: m, prompt: x}]\n", "4:17: layers[0].name: name 'A/b' must be 1 to 63"),
    (
        "layers: [{name: a, model: m, prompt: x}, {name: a, model: m, prompt: x}]\n",
        "layers[1].name: a layer 'a' is there already",
    ),
    (
        "layers: [{name: draft, model: m, prompt: x}, {name: b, after: drft}]\n",
        "4:63: layers[1].after: 'drft' names no layer; did you mean 'draft'?",
    ),
    (
        "layers: [{name: a, model: m, prompt: x, after: b}, {name: b, model: m, prompt: x, after: a}]\n",
        "layers[0].after: the layers wait for each other in a circle",
    ),
    (
        "axes: {product: [a]}\nlayers: [{name: a, model: m, prompt: \"one {prodct}\"}]\n",
        "5:43: layers[0].prompt: {prodct} names no axis; did you mean 'product'?",
    ),
    (
        "axes: {product: [{id: a, text: b}]}\nlayers: [{name: a, model: m, prompt: \"{product.txt}\"}]\n",
        "layers[0].prompt: axis 'product' has no column 'txt'; did you mean 'text'?",
    ),
    (
        "axes: {product: [a]}\nlayers: [{name: a, model: m, prompt: \"{product.text}\"}]\n",
        "axis 'product' has plain values, no columns; write '{product}'",
    ),
    (
        "layers: [{name: a, model: m, prompt: \"a { b\"}]\n",
        "4:41: layers[0].prompt: '{' stands alone; write '{axis}' for a value, '{{' for a brace",
    ),
    ("layers: [{name: a, model: m, prompt: \"a } b\"}]\n", "layers[0].prompt: '}' stands alone"),
    (
        "layers: [{name: a, model: m, prompt: x, output: \"f/{frame}\"}]\n",
        "'{frame}' is not for templates; leave it out",
    ),
    ("layers: [{name: a, model: m, prompt: x, seed: \"{seed}\"}]\n", "the seed cannot follow itself"),
    (
        "layers: [{name: a, model: m, prompt: x, resources: {ranks: 4}}]\n",
        "4:60: layers[0].resources.ranks: '4' ranks for one task are not possible here; write 'ranks: auto' or 'ranks: 1'",
    ),
    (
        "layers: [{name: a, model: m, prompt: x, dtype: fp16}]\n",
        "layers[0].dtype: 'fp16' is none of auto, f32, bf16; did you mean 'bf16'?",
    ),
    ("layers: [{name: a, model: m, prompt: x, png: 12}]\n", "layers[0].png: '12' is none of 8, 16"),
];

#[test]
fn rude_specs_are_told_where_and_what_and_how() {
    let mut wrong = String::new();
    for (rest, wanted) in RUDE {
        let own_layers = rest.contains("layers:");
        let text = format!("{HEAD}{rest}{}", if own_layers { "" } else { LAYER });
        let told = refused(&text);
        if !told.contains(wanted) {
            wrong += &format!("\n--- spec\n{text}--- told\n{told}\n--- wanted\n{wanted}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_missing_at_the_top_is_told_at_once() {
    let told = refused("kind: Batch\n");
    for wanted in [
        "1:1: 'apiVersion' is missing; write 'apiVersion: croft/v1'",
        "1:7: kind: is 'Batch', must be Job; write 'kind: Job'",
        "1:1: 'name' is missing",
        "1:1: there are no layers",
    ] {
        assert!(told.contains(wanted), "{told}");
    }
    assert!(refused("").contains("1:1: the spec is empty; begin with 'apiVersion: croft/v1'"));
}

#[test]
fn problems_are_bounded_and_stand_in_the_order_of_the_text() {
    let keys: String = (0..200).map(|n| format!("key{n}: x\n")).collect();
    let problems = read(&format!("{HEAD}{keys}{LAYER}")).expect_err("unknown keys");
    assert_eq!(problems.len(), super::report::PROBLEMS_MAX);
    assert!(problems.is_sorted_by_key(|problem| problem.line));
}

#[test]
fn a_spec_that_is_too_large_or_too_deep_is_refused_before_it_is_read() {
    let text = " ".repeat(SPEC_BYTES_MAX + 1);
    assert!(
        refused(&text)
            .contains(&format!("1:1: the spec has {} bytes, more than {SPEC_BYTES_MAX}", text.len()))
    );
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        let told = refused(&format!("{HEAD}axes: \n  {deep}"));
        assert!(told.contains("nested deeper than 16") || told.contains("not YAML"), "{told}");
    }
}

#[test]
fn a_value_in_a_message_is_short_and_on_one_line() {
    let told = refused(&format!("{HEAD}show: \"{}\\u0007\\n\"\n{LAYER}", "x".repeat(5000)));
    assert!(told.len() < 400 && !told.contains('\u{7}') && told.lines().count() == 1, "{told}");
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = read(&format!("{HEAD}{LAYER}")).expect("a good spec");
    assert_eq!((spec.name(), spec.show(), spec.priority), ("shots", "default", 50));
    assert_eq!((spec.policy.retries, spec.policy.timeout_total_ms), (3, 21_600_000));
    assert_eq!(spec.policy.no_progress, NoProgress::Times(8.0));
    assert_eq!((spec.layers[0].dtype.as_str(), spec.layers[0].png_bits), ("auto", 8));
    assert_eq!(spec.models(), ["m"]);
}

#[test]
fn durations_have_units() {
    for (text, ms) in
        [("500ms", 500), ("90s", 90_000), ("10m", 600_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000)]
    {
        let spec = read(&format!("{HEAD}policy: {{timeout: {{total: {text}, no_progress: 60s}}}}\n{LAYER}"));
        let policy = spec.expect(text).policy;
        assert_eq!((policy.timeout_total_ms, policy.no_progress), (ms, NoProgress::Ms(60_000)), "{text}");
    }
}

#[test]
fn json_is_read_as_well() {
    let text = "{\n\t\"apiVersion\": \"croft/v1\", \"kind\": \"Job\", \"name\": \"shots\",\n\t\"axes\": {\"seed\": [1, 2]},\n\
                \t\"layers\": [{\"name\": \"a\", \"model\": \"m\", \"prompt\": \"a \\\"red\\\" ball\", \"preview\": false}]\n}";
    let spec = read(text).expect("a good spec");
    assert_eq!(spec.layers[0].prompt.constant(), Some("a \"red\" ball"));
}

#[test]
fn words_that_yaml_likes_to_change_stay_words() {
    let spec = read(&format!("{HEAD}axes: {{country: [no, on, 1.50, 012]}}\n{LAYER}")).expect("a good spec");
    let values: Vec<_> = (0..4).map(|at| spec.axes[0].text(at).into_owned()).collect();
    assert_eq!(values, ["no", "on", "1.50", "012"]);
}

#[test]
fn ranges_follow_open_job_description() {
    for (range, values) in [
        ("1001-1009:2", vec![1001, 1003, 1005, 1007, 1009]),
        ("1,3,5-7", vec![1, 3, 5, 6, 7]),
        ("10-1:-4", vec![10, 6, 2]),
        ("-3--1", vec![-3, -2, -1]),
        ("7", vec![7]),
    ] {
        let runs = super::range::parse(range).expect(range);
        let got: Vec<i64> = (0..runs.len()).map(|at| runs.value(at)).collect();
        assert_eq!(got, values, "{range}");
        assert!(values.iter().enumerate().all(|(at, value)| runs.find(*value) == Some(at as u64)), "{range}");
        assert_eq!(runs.find(4).is_some(), values.contains(&4), "{range}");
    }
}

#[test]
fn a_table_gives_its_columns_to_the_axis() {
    let axis = "axes: {scene: {file: scenes.csv, id: scene_id}}\n";
    let text = format!("{HEAD}{axis}layers: [{{name: a, model: m, prompt: \"{{scene}} {{scene.mood}}\"}}]\n");
    let table = "\u{feff}scene_id, mood\r\nbeach,\"warm, \"\"late\"\" sun\"\r\n\r\nalley,rain\r\n";
    assert_eq!(files_named(&text), ["scenes.csv"]);
    let spec = read_with(&text, &[("scenes.csv", table), ("other.csv", "x")], &[]).expect("a good spec");
    assert_eq!(spec.axes[0].len(), 2);
    assert_eq!(spec.axes[0].cell(0, 1), "warm, \"late\" sun");
    assert!(spec.source.files.keys().eq(["scenes.csv"]));
    for (table, wanted) in [
        ("", "'scenes.csv': it is empty"),
        ("scene_id,mood\n", "'scenes.csv': it has no rows under its header"),
        ("scene_id,mood\na,b\nc\n", "'scenes.csv': line 3: 1 cells, but the header has 2"),
        ("scene_id,mood\na,b\na,c\n", "axes.scene: has 'a' twice"),
        ("scene,mood\na,b\n", "there is no column 'scene_id' to name the values by"),
        ("scene_id,mood,mood\na,b,c\n", "'mood' cannot name a column here"),
    ] {
        let problems = read_with(&text, &[("scenes.csv", table)], &[]).expect_err(table);
        let told = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(wanted), "{told}");
    }
    let binary = BTreeMap::from([("scenes.csv".to_owned(), vec![b's', b'\n', 0xff, 0xfe])]);
    let told = parse(&Source { name: "t", text: &text, files: &binary, set: &[] }).expect_err("not text");
    assert!(told[0].message.contains("line 2: not UTF-8 text"), "{told:?}");
}

#[test]
fn files_are_named_of_good_texts_only() {
    assert!(files_named("axes: {a: {file: [x]}, b: [1]}").is_empty());
    assert!(files_named("axes: {a: [").is_empty());
}

#[test]
fn set_lays_values_over_the_text() {
    let text = format!(
        "{HEAD}layers:\n  - {{name: draft, model: m, prompt: red}}\n  - {{name: final, after: draft}}\n"
    );
    let set = [
        "name=other",
        "priority=70",
        "params.steps=8",
        "layers.1.params.steps=40",
        "layers.draft.dtype=f32",
        "axes.seed={from: 1, count: 4}",
        "matrix.expect=4",
        "labels.client=acme",
        "prompt=a ball: {seed} # 1",
    ];
    let spec = read_with(&text, &[], &set).expect("a good spec");
    assert_eq!((spec.name(), spec.priority, spec.labels["client"].as_str()), ("other", 70, "acme"));
    assert_eq!(spec.layers[0].params[0].value.constant(), Some("8"));
    assert_eq!(spec.layers[1].params[0].value.constant(), Some("40"));
    assert_eq!((spec.layers[0].dtype.as_str(), spec.axes[0].len()), ("f32", 4));
    assert_eq!(spec.layers[1].prompt.source, "a ball: {seed} # 1");
    for (pair, wanted) in [
        ("steps", "--set: 'steps' has no '='; write 'path=value', as in 'params.steps=8'"),
        ("nam=x", "--set: nam: unknown key 'nam'; did you mean 'name'?"),
        ("layers.7.dtype=f32", "--set: layers.7.dtype: '7' is none of the 2 items"),
        ("name.x=1", "--set: name.x: 'x' lies in a single value; set the value itself"),
        ("a..b=1", "--set: a..b: a path has 1 to 8 keys"),
        ("axes.seed={from: 1", "--set: axes.seed: not YAML"),
        ("priority=high", "--set: priority: 'high' is no whole number from 0 to 100"),
    ] {
        let told = read_with(&text, &[], &[pair]).expect_err(pair);
        assert!(told[0].to_string().starts_with(wanted), "{}", told[0]);
    }
}

#[test]
fn a_layer_takes_what_it_leaves_out_from_the_one_before() {
    let text = format!(
        "{HEAD}layers:\n  - {{name: final, after: draft, params: {{steps: 40}}}}\n  - {{name: draft, model: m, \
         prompt: red, params: {{steps: 8, size: 96x96}}, output: \"{{job}}/x\", png: 16}}\n"
    );
    let spec = read(&text).expect("a good spec");
    let params: Vec<_> = spec.layers[0]
        .params
        .iter()
        .map(|param| (param.name.as_str(), param.value.source.as_str()))
        .collect();
    assert_eq!(params, [("size", "96x96"), ("steps", "40")]);
    let [last, first] = &spec.layers[..] else { panic!("two layers") };
    assert_eq!((last.after, last.model.as_str(), last.png_bits), (Some(1), "m", 16));
    assert!(last.output.is_none() && first.output.is_some(), "two layers do not share their files");
}

#[test]
fn a_problem_of_what_layers_share_is_told_once() {
    let text = format!("{HEAD}layers: [{{name: a, model: m, prompt: \"{{x}}\"}}, {{name: b, after: a}}]\n");
    assert_eq!(read(&text).expect_err("x is no axis").len(), 1);
}

#[test]
fn an_axis_that_nothing_combines_is_warned_of() {
    let text = format!("{HEAD}axes: {{a: [1], b: [2]}}\nmatrix: {{combine: a}}\n{LAYER}");
    assert_eq!(read(&text).expect("a good spec").warnings, ["axis 'b' is defined but not in matrix.combine"]);
}

#[test]
fn the_digest_is_of_what_is_said_and_not_of_how() {
    let digest = |text: &str| read(&format!("{HEAD}{text}")).expect(text).digest();
    let one = digest("axes: {a: [1], b: [2]}\nlayers: [{name: a, model: m, prompt: red}]\n");
    assert_eq!(
        one,
        digest("# x\nlayers:\n- prompt: 'red'\n  name: a\n  model: m\naxes:\n  a: [1]\n  b: [\"2\"]\n")
    );
    assert_ne!(
        one,
        digest("axes: {b: [2], a: [1]}\nlayers: [{name: a, model: m, prompt: red}]\n"),
        "order of axes"
    );
    assert_ne!(one, digest("axes: {a: [1], b: [2]}\nlayers: [{name: a, model: m, prompt: blue}]\n"));
}
