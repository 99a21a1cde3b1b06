//! The coordinator over its real wire: a client, a worker's stream made by hand, and nothing in between replaced.

mod artifacts;
mod house;
mod jobs;
mod watching;
mod workers;
