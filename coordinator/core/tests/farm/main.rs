//! The farm's rules as values: no process, no socket, no clock.

mod cancelling;
mod chance;
mod house;
mod layers;
mod retrying;
mod scheduling;
mod workers;
