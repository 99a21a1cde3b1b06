//! What a spec says and how it is read.

mod chance;
mod rude;

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
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        let told = refused(&format!("{HEAD}axes: \n  {deep}"));
        assert!(told.contains("nested deeper than 16") || told.contains("not YAML"), "{told}");
    }
    for odd in [
        "? ".repeat(100_000),
        "\"".repeat(300_000),
        "# \n".repeat(300_000),
        ": ".repeat(300_000),
        "&a ".repeat(300_000),
    ] {
        let text = format!("{HEAD}{odd}");
        assert!(read(&text).is_err());
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
    assert_eq!((spec.policy.retries.default, spec.policy.timeout_total_ms), (3, 21_600_000));
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
