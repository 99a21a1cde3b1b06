//! See `src/grpc.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| croft_fuzz::grpc::run(input));
