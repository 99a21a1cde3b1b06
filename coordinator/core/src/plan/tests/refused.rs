//! Plans that must not be, each with the place and the words that must come back.

use super::{planned, told};

/// The rest of a spec after its head (three lines), and what must be told of it.
#[rustfmt::skip]
const REFUSED: &[(&str, &str)] = &[
    ("axes: {a: [1, 2]}\nmatrix: {expect: 3}\nlayers: [{name: a, model: m, prompt: x}]\n",
     "5:18: matrix.expect: expects 3, but a 2 = 2, exclude removes 0, leaves 2; write 'expect: 2' if that is what you mean"),
    ("axes: {a: {range: 1-100000}, b: {range: 1-100000}, c: {range: 1-100000}}\nlayers: [{name: a, model: m, prompt: x}]\n",
     "axes: a 100000 x b 100000 x c 100000 = 1000000000000000 tasks, more than 1000000; take values out, or split the job"),
    ("axes: {a: {range: 1-600000}}\nlayers: [{name: a, model: m, prompt: x}, {name: b, after: a}]\n",
     "a 600000 = 600000, for 2 layers 1200000 tasks, more than 1000000"),
    ("axes: {a: [1, 2], b: [1, 2, 3]}\nmatrix: {combine: \"(a, b)\"}\nlayers: [{name: a, model: m, prompt: x}]\n",
     "5:19: matrix.combine: (a 2, b 3) cannot go side by side: their numbers differ"),
    ("axes: {a: [1]}\nmatrix: {exclude: [{a: 1}]}\nlayers: [{name: a, model: m, prompt: x}]\n", "a 1 = 1, exclude removes 1: no task is left"),
    ("layers: [{name: a, model: other, prompt: x}]\n", "4:27: layers[0].model: nothing is known of model 'other'"),
    // Parameters.
    ("layers: [{name: a, model: m, prompt: x, params: {stps: 8}}]\n", "4:56: layers[0].params.stps: model 'm' has no parameter 'stps'; did you mean 'steps'?"),
    ("layers: [{name: a, model: m, prompt: x, params: {guidance_scale: 8}}]\n", "has no parameter 'guidance_scale'; write 'guidance'"),
    ("layers: [{name: a, model: m, prompt: x, params: {size: 100x96}}]\n",
     "4:56: layers[0].params.size: '100x96' must be multiples of 32 from 32 to 2048; the nearest is 96x96"),
    ("layers: [{name: a, model: m, prompt: x, params: {size: 96}}]\n", "'96' is no size; write WIDTHxHEIGHT, multiples of 32"),
    ("layers: [{name: a, model: m, prompt: x, params: {size: 99999999999x0}}]\n", "'99999999999x0' is no size"),
    ("layers: [{name: a, model: m, prompt: x, params: {size: 4000000000x0}}]\n", "the nearest is 2048x32"),
    ("layers: [{name: a, model: m, prompt: x, params: {num_frames: 16}}]\n", "'16' must be 8k + 1 from 1 to 257; the nearest is 17"),
    ("layers: [{name: a, model: m, prompt: x, params: {num_frames: 9999}}]\n", "the nearest is 257"),
    ("layers: [{name: a, model: m, prompt: x, params: {num_frames: -3}}]\n", "the nearest is 1"),
    ("layers: [{name: a, model: m, prompt: x, params: {steps: 0}}]\n", "'0' must be from 1 to 500; the nearest is 1"),
    ("layers: [{name: a, model: m, prompt: x, params: {steps: 2.5}}]\n", "'2.5' is no whole number; give one that is from 1 to 500"),
    ("layers: [{name: a, model: m, prompt: x, params: {guidance: .nan}}]\n", "'.nan' is no finite number; give one from 1 to 50"),
    ("layers: [{name: a, model: m, prompt: x, params: {guidance: NaN}}]\n", "'NaN' is no finite number"),
    ("layers: [{name: a, model: m, prompt: x, params: {guidance: 1e999}}]\n", "'1e999' is no finite number"),
    ("layers: [{name: a, model: m, prompt: x, params: {guidance: -inf}}]\n", "'-inf' is no finite number"),
    ("layers: [{name: a, model: m, prompt: x, params: {guidance: 60}}]\n", "'60' is not from 1 to 50; the nearest is 50"),
    ("layers: [{name: a, model: m, prompt: x, params: {loop: yes}}]\n", "'yes' is neither true nor false"),
    ("layers: [{name: a, model: m, prompt: x, params: {look: too long a look}}]\n", "has 15 bytes, more than 8"),
    ("layers: [{name: a, model: m, prompt: x, params: {seed: first}}]\n", "layers[0].params.seed: 'first' is no seed"),
    ("axes: {aspect: [96x96, 100x96]}\nlayers: [{name: a, model: m, prompt: x, params: {size: \"{aspect}\"}}]\n",
     "5:56: layers[0].params.size: '100x96' must be multiples of 32 from 32 to 2048 (aspect=100x96); the nearest is 96x96"),
    ("axes: {w: [96, 97], h: [96]}\nlayers: [{name: a, model: m, prompt: x, params: {size: \"{w}x{h}\"}}]\n",
     "'97x96' must be multiples of 32 from 32 to 2048 (w=97 h=96)"),
    ("axes: {take: [1, two]}\nlayers: [{name: a, model: m, prompt: x, seed: \"{take}\"}]\n", "layers[0].seed: 'two' is no seed (take=two)"),
    // Outputs.
    ("axes: {a: [x, y], b: [1, 2]}\nlayers: [{name: l, model: m, prompt: x, output: \"c/{a}\"}]\n",
     "5:49: layers[0].output: two tasks write 'c/x': (a=x b=1) and (a=x b=2); add {b}"),
    ("axes: {a: [x, X]}\nlayers: [{name: l, model: m, prompt: x, output: \"{a}\"}]\n", "two tasks write 'x' but for capitals: (a=x) and (a=X)"),
    ("layers: [{name: l, model: m, prompt: x, output: o}, {name: k, model: m, prompt: x, output: o}]\n",
     "layers[1].output: two tasks write 'o': (l) and (k); add {layer}, or give the layers outputs of their own"),
    ("axes: {a: [1, 2]}\nlayers: [{name: l, model: m, prompt: x, output: \"{a}\", preview: \"p.mp4\"}]\n", "layers[0].preview: two tasks write 'p.mp4'"),
    ("layers: [{name: l, model: m, prompt: x, output: ../up}]\n", "4:49: layers[0].output: '../up' has '..'; outputs stay inside their folder; give a relative path"),
    ("layers: [{name: l, model: m, prompt: x, output: a/../../b}]\n", "'a/../../b' has '..'"),
    ("layers: [{name: l, model: m, prompt: x, output: /etc/x}]\n", "'/etc/x' begins with '/'"),
    ("layers: [{name: l, model: m, prompt: x, output: a//b}]\n", "has an empty part"),
    ("layers: [{name: l, model: m, prompt: x, output: a/}]\n", "has an empty part"),
    ("layers: [{name: l, model: m, prompt: x, output: 'a\\b'}]\n", "which not every file system can hold"),
    ("layers: [{name: l, model: m, prompt: x, output: 'C:b'}]\n", "has ':', which not every file system can hold"),
    ("layers: [{name: l, model: m, prompt: x, output: \"a\\u0001b\"}]\n", "which not every file system can hold"),
    ("layers: [{name: l, model: m, prompt: x, output: .attempts/x}]\n", "has a part '.attempts' that begins with '.'"),
    ("layers: [{name: l, model: m, prompt: x, output: a/.croft}]\n", "has a part '.croft' that begins with '.'"),
    ("layers: [{name: l, model: m, prompt: x, output: 'a. /b'}]\n", "begins or ends with a space"),
    ("layers: [{name: l, model: m, prompt: x, output: \"\"}]\n", "layers[0].output: '' is empty"),
    ("layers: [{name: l, model: m, prompt: x, output: a.json/b}]\n", "has a folder 'a.json' that is named like a file"),
    ("layers: [{name: l, model: m, prompt: x, output: a.mp4}]\n", "'a.mp4' names a movie, but a clip is a folder of frames; leave '.mp4' out"),
    ("layers: [{name: l, model: m, prompt: x, output: a.PNG}]\n", "'a.PNG' names one picture, but a clip is a folder of frames; name a folder"),
    ("layers: [{name: l, model: still, prompt: x, output: a.json}]\n", "'a.json' ends in .json, which is written beside it"),
    ("layers: [{name: l, model: m, prompt: x, preview: p.gif}]\n", "layers[0].preview: 'p.gif' does not end in .mp4"),
    ("layers: [{name: l, model: still, prompt: x, preview: p.mp4}]\n", "layers[0].preview: a still has no preview"),
    ("axes: {a: [\"x/y\"]}\nlayers: [{name: l, model: m, prompt: x, output: \"{a}\"}]\n", "value 'x/y' of {a} would be a path of its own; name the output by a value without '/'"),
    ("axes: {a: [{id: x, t: \"../y\"}]}\nlayers: [{name: l, model: m, prompt: x, output: \"{a.t}\"}]\n", "value '../y' of {a.t} would be a path of its own"),
    ("axes: {a: [\"..\"]}\nlayers: [{name: l, model: m, prompt: x, output: \"{a}/f\"}]\n", "layers[0].output: '../f' has '..'; outputs stay inside their folder (a=..)"),
];

#[test]
fn what_does_not_go_is_told_where_and_what_and_how() {
    let mut wrong = String::new();
    for (rest, wanted) in REFUSED {
        let told = planned(rest).map_or_else(|problems| told(&problems), |_| "nothing".to_owned());
        if !told.contains(wanted) {
            wrong += &format!("\n--- spec\n{rest}--- told\n{told}\n--- wanted\n{wanted}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_template_that_becomes_megabytes_is_refused_before_it_is_filled() {
    let cell = "x".repeat(400_000);
    let (prompt, seed) = ("{a}".repeat(250), "{a}".repeat(250));
    let rest = format!(
        "axes: {{a: [\"{cell}\"], b: \"1-1000\"}}\nlayers: [{{name: l, model: m, prompt: \"{prompt}\", seed: \"{seed}\"}}]\n"
    );
    let told = told(&planned(&rest).expect_err("it is too long"));
    assert!(told.contains("layers[0].prompt: can become 100000000 bytes long, more than 65536"), "{told}");
    assert!(told.contains("layers[0].seed: can become 100000000 bytes long"), "{told}");
}

#[test]
fn a_problem_shows_the_beginning_of_a_long_value() {
    let cell = "1".repeat(60_000);
    let rest =
        format!("axes: {{a: [\"{cell}\"]}}\nlayers: [{{name: l, model: m, prompt: x, seed: \"{{a}}\"}}]\n");
    let told = told(&planned(&rest).expect_err("no seed"));
    assert!(told.len() < 1_000 && told.contains("(a=1111") && told.contains('…'), "{} bytes", told.len());
}
