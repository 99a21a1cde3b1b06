//! Our CUDA kernels on a machine without a GPU: the C++ compiler builds each of them for the CPU, with a header that
//! plays the GPU, and runs it against the definition of what it computes. See `emulate/emulator.h`.

#![allow(clippy::print_stdout)]

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// Builds and runs `emulate/NAME.cpp`; passes with a message where there is no C++ compiler.
fn emulate(name: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulate").join(name).with_extension("cpp");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulate-{name}"));
    let built = Command::new("c++")
        .args(["-std=c++20", "-O1", "-g", "-Wall", "-Wno-unknown-pragmas"])
        // The emulator jumps between stacks, which this check takes for damage.
        .arg("-U_FORTIFY_SOURCE")
        // What a GPU would trap on, or, worse, would not.
        .args([
            "-fsanitize=alignment,bounds,shift,signed-integer-overflow",
            "-fsanitize-undefined-trap-on-error",
        ])
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output();
    let built = match built {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            println!("skipped, there is no C++ compiler `c++`: the kernels of {name}.cpp are untested");
            return;
        }
        built => built.expect("c++ is there"),
    };
    assert!(
        built.status.success(),
        "{name}.cpp does not compile:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let ran = Command::new(&program).output().expect("it has just been built");
    assert!(
        ran.status.success(),
        "{name}.cpp: {}\n{}{}",
        ran.status,
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn flash_attention_on_tensor_cores_agrees_with_its_definition() {
    emulate("flash_sm80");
}

#[test]
fn flash_attention_on_hopper_agrees_with_its_definition() {
    emulate("flash_sm90");
}

#[test]
fn the_general_attention_agrees_with_its_definition() {
    emulate("attention");
}

#[test]
fn norms_turns_and_what_is_done_to_each_element_agree_with_their_definitions() {
    emulate("rows");
}

#[test]
fn the_convolution_on_tensor_cores_agrees_with_its_definition() {
    emulate("conv3d");
}

#[test]
fn the_convolution_on_hopper_agrees_with_its_definition() {
    emulate("conv3d_sm90");
}

#[test]
fn the_convolution_of_any_numbers_agrees_with_its_definition() {
    emulate("conv3d_any");
}

#[test]
fn a_bordered_input_is_zero_around_and_normalised_inside() {
    emulate("border");
}

#[test]
fn a_packed_weight_has_its_outputs_in_the_order_that_was_asked_for() {
    emulate("pack");
}
