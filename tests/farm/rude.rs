//! What people get wrong, and what they are told: the place, the remedy, the exit code; and nothing half-made.

use std::{fs, io::Write, path::Path, process::Stdio};

use crate::house::{Coordinator, croft, ends, shapes};

const GOOD: &str = "apiVersion: croft/v1
kind: Job
name: rude
axes:
  seed: {from: 1, count: 2}
layers:
  - name: clip
    model: builtin://shapes
    prompt: a red circle
    output: \"rude/s{seed}\"
";

/// (what is wrong, what in the good spec becomes what, words that the answer must hold)
const TABLE: &[(&str, &str, &str, &[&str])] = &[
    ("an unknown key", "prompt:", "promt:", &["spec.yaml:9:", "promt", "prompt"]),
    ("an axis that nobody defined", "{seed}", "{sead}", &["spec.yaml:10:", "sead", "seed"]),
    ("one name for two outputs", "rude/s{seed}", "rude/s", &["spec.yaml:10:", "seed=1", "seed=2"]),
    ("another number of tasks", "layers:", "matrix: {expect: 3}\nlayers:", &["expect", "seed 2 = 2", "3"]),
    (
        "a size that the model cannot do",
        "    prompt:",
        "    params: {size: 100x96}\n    prompt:",
        &["layers[0].params.size", "100x96", "96x96"],
    ),
    (
        "frames that the model cannot do",
        "    prompt:",
        "    params: {num_frames: 18}\n    prompt:",
        &["layers[0].params.num_frames", "18", "17"],
    ),
    ("an output outside the store", "rude/s{seed}", "../s{seed}", &["spec.yaml:10:", ".."]),
    ("an absolute output", "rude/s{seed}", "/rude/s{seed}", &["spec.yaml:10:", "/rude"]),
    ("too many tasks", "count: 2}", "count: 1000000000}", &["1000000", "axes.seed"]),
    ("a range of another kind", "{from: 1, count: 2}", "5-1", &["spec.yaml:5:", "seed"]),
    (
        "a model that is not there",
        "builtin://shapes",
        "builtin://shaps",
        &["builtin://shaps", "builtin://shapes"],
    ),
    ("broken YAML", "name: rude", "name: [rude", &["spec.yaml:"]),
    ("another version", "croft/v1", "croft/v9", &["spec.yaml:1:", "croft/v1"]),
];

fn refused(dir: &Path, words: &[&str], text: &str) -> String {
    let spec = dir.join("spec.yaml");
    fs::write(&spec, text).expect("written");
    let output = ends(croft(words).current_dir(dir).arg("spec.yaml"), 3);
    fs::remove_file(spec).expect("removed");
    assert_eq!(fs::read_dir(dir).expect("a folder").count(), 0, "nothing is half-made");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.starts_with("error: ") && told.contains("help: "), "{told}");
    told
}

#[test]
fn a_wrong_spec_is_told_where_it_is_wrong_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("scratch");
    for (what, from, to, words) in TABLE {
        assert!(GOOD.contains(from), "{what}");
        for command in ["lint", "render"] {
            let told = refused(dir.path(), &[command], &GOOD.replacen(from, to, 1));
            for word in *words {
                assert!(told.contains(word), "{what}, croft {command}: no '{word}' in\n{told}");
            }
        }
    }
}

/// `lint` lets it pass: the folder may be on the farm's machines. Here it must be on this one.
#[test]
fn a_model_folder_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("scratch");
    let told = refused(dir.path(), &["render"], &GOOD.replace("builtin://shapes", "/no/such/model"));
    assert!(told.contains("/no/such/model"), "{told}");
}

#[test]
fn a_prompt_of_a_megabyte_is_refused() {
    let dir = tempfile::tempdir().expect("scratch");
    let prompt = "very ".repeat(200_000);
    let told = refused(dir.path(), &["lint"], &GOOD.replace("a red circle", &prompt));
    assert!(told.contains("layers[0].prompt") || told.contains("bytes"), "{}", &told[..told.len().min(400)]);
    assert!(told.len() < 2_000, "the message does not repeat the prompt");
}

#[test]
fn a_spec_of_a_hundred_megabytes_is_not_even_read() {
    let dir = tempfile::tempdir().expect("scratch");
    let spec = dir.path().join("spec.yaml");
    fs::File::create(&spec).and_then(|file| file.set_len(100 << 20)).expect("a sparse file");
    let output = ends(croft(&["lint"]).arg(&spec), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("1048576 bytes"));
}

#[test]
fn a_wrong_spec_makes_no_job() {
    let house = Coordinator::start();
    let spec = shapes(house.dir.path(), "clips", 2, 2);
    let output = ends(house.client(&["submit"]).arg(&spec).args(["--set", "params.stepps=3"]), 3);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("stepps") && told.contains("steps"), "{told}");
    assert!(house.json(&["jobs"])["items"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_farm_that_is_not_there_is_unreachable() {
    let output = ends(&mut croft(&["jobs", "--coordinator", "127.0.0.1:1"]), 6);
    assert!(String::from_utf8_lossy(&output.stderr).contains("help: start one with `croft coordinator`"));
    ends(&mut croft(&["jobs", "--coordinator", "farm.example:7400"]), 2);
}

#[test]
fn a_job_that_is_not_there_is_not_found() {
    let house = Coordinator::start();
    for words in
        [&["job", "nobody"][..], &["tasks", "nobody"], &["watch", "nobody"], &["cancel", "--yes", "nobody"]]
    {
        let output = ends(&mut house.client(words), 4);
        assert!(String::from_utf8_lossy(&output.stderr).contains("nobody"), "{words:?}");
    }
}

/// Weights that are whole in form and no numbers in content: the clip must fail, never be published black.
#[test]
fn nan_in_the_weights_fails_the_task_and_publishes_nothing() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numerics/golden/ltx/pipe");
    let dir = tempfile::tempdir().expect("scratch");
    let model = dir.path().join("model");
    copy(&golden, &model);
    let weights = model.join("transformer/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    bytes[8 + header..].chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::NAN.to_le_bytes()));
    fs::write(&weights, bytes).expect("written");
    let out = dir.path().join("out");
    let output = ends(
        croft(&[
            "render",
            "--prompt",
            "a red circle",
            "--steps",
            "2",
            "--size",
            "32x32",
            "--num-frames",
            "9",
        ])
        .args(["--seed", "1", "--model"])
        .arg(&model)
        .arg("-o")
        .arg(&out),
        7,
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("NAN_OUTPUT"), "{told}");
    let left = if out.exists() { crate::house::files(&out) } else { Default::default() };
    assert!(
        left.keys().all(|name| !name.ends_with("0001.png") && !name.ends_with(".mp4")),
        "{:?}",
        left.keys()
    );
}

#[test]
fn a_truncated_weights_file_is_named() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numerics/golden/ltx/pipe");
    let dir = tempfile::tempdir().expect("scratch");
    let model = dir.path().join("model");
    copy(&golden, &model);
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let length = fs::metadata(&weights).expect("weights").len();
    fs::File::options().write(true).open(&weights).and_then(|f| f.set_len(length / 2)).expect("cut");
    let output = ends(
        croft(&["render", "--prompt", "x", "-o"]).arg(dir.path().join("out")).arg("--model").arg(&model),
        3,
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("vae/diffusion_pytorch_model.safetensors"), "{told}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_spec_from_standard_input_is_as_good_as_a_file() {
    let mut child =
        croft(&["lint", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary runs");
    child.stdin.take().expect("it is piped").write_all(GOOD.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copied");
            // The goldens may be read-only where they come from.
            let mut permissions = fs::metadata(&to).expect("there").permissions();
            #[allow(clippy::permissions_set_readonly_false, reason = "a copy in the test's own folder")]
            permissions.set_readonly(false);
            fs::set_permissions(&to, permissions).expect("its own file");
        }
    }
}
