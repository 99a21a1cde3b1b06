//! The farm's rules as values: no process, no socket, no clock.

mod cancelling;
mod cards;
mod chance;
mod doors;
mod explaining;
mod flight;
mod gangs;
mod house;
mod layers;
mod memory;
mod recovering;
mod retrying;
mod scheduling;
mod sharing;
mod usage;
mod workers;
