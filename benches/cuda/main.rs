//! What a device does with the models at their real sizes; `deploy/cuda/README.md` says what is asked and what is answered,
//! `deploy/cuda/check` asks it.
#![allow(clippy::print_stdout, reason = "a benchmark's numbers are its output")]

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod weights;

fn main() {
    #[cfg(feature = "cuda")]
    cuda::main();
    #[cfg(not(feature = "cuda"))]
    println!("it measures NVIDIA devices: build it with the feature `cuda`");
}
