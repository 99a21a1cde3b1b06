//! The coordinator over its real wire: a client, a worker's stream made by hand, and nothing in between replaced.
#![allow(clippy::disallowed_methods, reason = "a test dials what it started")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod artifacts;
mod house;
mod jobs;
mod watching;
mod workers;
