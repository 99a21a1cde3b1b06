//! Rude specs, each with the place and the words that must come back.

use super::{HEAD, LAYER, refused};

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
        "6:38: layers[0].prompt: axis 'b' is not in matrix.combine; add it, or leave the axis out here",
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
        "layers: [{name: a, model: m, prompt: x, resources: {ranks: 65}}]\n",
        "4:60: layers[0].resources.ranks: '65' is no whole number from 1 to 64; write a whole number from 1 to 64",
    ),
    (
        "layers: [{name: a, model: m, prompt: x, resources: {pool: [A B]}}]\n",
        "4:60: layers[0].resources.pool: 'A B' cannot be a name; use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit",
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
fn a_problem_is_one_line_that_moves_no_cursor() {
    for key in ["\"a\n\n  b\"", "\"a\\e[2Jb\"", "\"a\\u009bb\"", "\"\\r\\n\""] {
        let told = refused(&format!("{{apiVersion: croft/v1, {key}: {{}}, axes: {{{key}: [1, 1]}}}}"));
        assert!(told.contains("unknown key"), "{told:?}");
        assert!(
            told.split('\n').all(|line| line.contains("; ") && !line.contains(char::is_control)),
            "{told:?}"
        );
    }
}
