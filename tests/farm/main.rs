//! The farm as its users have it: the real binary, real processes, real signals.
#![allow(clippy::disallowed_methods, reason = "a test dials what it started")]

mod egress;
mod failures;
mod flight;
mod gangs;
mod halfway;
mod house;
mod identity;
mod memory;
mod middle;
mod prompt_to_pictures;
mod python;
mod rude;
mod s3;
mod sameness;
mod watching;
mod wrangling;
