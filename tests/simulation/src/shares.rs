//! Fairness, measured on a farm in good order: shows get what their weights say, and a large gang gets its devices among
//! endless small tasks; among endless shots in flight too, whose devices are charged once.

use crate::{
    catalogue::{Shape, plan},
    chance::Chance,
    hall::Hall,
};

/// Devices of the farm, four a worker.
const WORKERS: u64 = 8;
const DEVICES: u32 = 4;
/// The longest small task.
const SMALL_MS: (u64, u64) = (5_000, 40_000);

/// How long an attempt of `fence` takes: chance, but the same each time that it is asked.
fn lasts(seed: u64, fence: u64, (low, high): (u64, u64)) -> u64 {
    Chance::new(seed ^ fence.wrapping_mul(0x9e37_79b9)).between(low, high)
}

fn hall() -> Hall {
    let mut hall = Hall::new();
    (0..WORKERS).for_each(|_| hall.join(DEVICES));
    hall
}

/// Two shows with weights 2 : 1 and more work than devices for an hour; the one with the smaller weight has many short
/// tasks, the other long ones. Gives the share of the first in all device time; 2/3 would be exact.
#[must_use]
pub fn two_to_one(seed: u64) -> f64 {
    const HOUR_MS: u64 = 3_600_000;
    let mut hall = hall();
    hall.set_show("alpha", 200);
    hall.set_show("beta", 100);
    // Two jobs for one, three for the other: shows share, not jobs.
    for (show, jobs) in [("alpha", 2), ("beta", 3)] {
        for _ in 0..jobs {
            hall.submit(plan(&Shape { tasks: 50_000, show, ..Shape::patient() }.text()));
        }
    }
    hall.run(
        HOUR_MS,
        &|assignment| {
            let is_alpha = assignment.sidecar.contains("alpha");
            let range = if is_alpha { (20_000, 60_000) } else { (2_000, 9_000) };
            lasts(seed, assignment.attempt.fence.0, range)
        },
        &|_| false,
    );
    let of = |show: &str| hall.device_ms.get(show).copied().unwrap_or(0) as f64;
    of("alpha") / (of("alpha") + of("beta"))
}

/// Where a gang stands in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gang {
    /// Of a show of its own.
    OtherShow,
    /// Of the same show, with a higher priority.
    Urgent,
    /// Of the same show and priority, behind a job that has no end: only waiting brings it forward.
    Behind,
}

impl Gang {
    pub const ALL: [Self; 3] = [Self::OtherShow, Self::Urgent, Self::Behind];

    /// What it waits at most, simulated milliseconds: the small tasks that run when its turn comes, and those that are
    /// lent its devices meanwhile. One that is behind gets its turn when ten minutes of waiting have made it urgent.
    #[must_use]
    pub fn waits_ms_max(self) -> u64 {
        const AGEING_MS: u64 = 11 * 60_000;
        let devices = 2 * SMALL_MS.1;
        match self {
            Self::OtherShow | Self::Urgent => devices,
            Self::Behind => AGEING_MS + devices,
        }
    }
}

/// What a farm is full of, with endless more behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Tasks of one device.
    Small,
    /// Shots in flight, two on two devices: each is followed by another while its companion goes on.
    Flights,
}

impl Among {
    pub const ALL: [Self; 2] = [Self::Small, Self::Flights];

    fn shape(self) -> Shape {
        let resources = match self {
            Self::Small => "{}",
            Self::Flights => IN_FLIGHT,
        };
        Shape { tasks: 100_000, resources, ..Shape::patient() }
    }
}

const IN_FLIGHT: &str = "{ranks: 2, split: layers}";

/// A gang of 8 devices comes to a farm that is full. Gives what it waits, simulated milliseconds, or `None` when it has not
/// started within half an hour.
#[must_use]
pub fn gang_waits_ms(seed: u64, gang: Gang, among: Among) -> Option<u64> {
    let shape = Shape { tasks: 1, resources: "{ranks: 8}", ..Shape::patient() };
    let shape = match gang {
        Gang::OtherShow => Shape { show: "beta", ..shape },
        Gang::Urgent => Shape { priority: 60, ..shape },
        Gang::Behind => shape,
    };
    waits_ms(seed, &shape, among)
}

/// A task of one device, of a show that has used nothing yet, comes to a farm that is full of shots in flight. Gives what it
/// waits, simulated milliseconds.
#[must_use]
pub fn single_waits_ms(seed: u64) -> Option<u64> {
    waits_ms(seed, &Shape { tasks: 1, show: "beta", ..Shape::patient() }, Among::Flights)
}

/// What it waits at most: no shot follows those that are in flight.
pub const SINGLE_WAITS_MS_MAX: u64 = SMALL_MS.1;

fn waits_ms(seed: u64, shape: &Shape, among: Among) -> Option<u64> {
    const COMES_MS: u64 = 120_000;
    let mut hall = hall();
    let takes =
        move |assignment: &croft_core::step::Assignment| lasts(seed, assignment.attempt.fence.0, SMALL_MS);
    hall.submit(plan(&among.shape().text()));
    hall.run(COMES_MS, &takes, &|_| false);
    let job = hall.submit(plan(&shape.text()));
    let came = hall.now_ms();
    hall.run(came + 30 * 60_000, &takes, &|hall| hall.first_start.contains_key(&job));
    hall.first_start.get(&job).map(|start| start - came)
}

/// Device time that is charged for ten minutes of a farm that is full of shots in flight, as a share of what it has; 1 would
/// be exact, but for what runs at the end.
#[must_use]
pub fn flights_charged(seed: u64) -> f64 {
    const WHILE_MS: u64 = 600_000;
    let mut hall = hall();
    hall.submit(plan(&Among::Flights.shape().text()));
    hall.run(WHILE_MS, &|assignment| lasts(seed, assignment.attempt.fence.0, SMALL_MS), &|_| false);
    let used: u64 = hall.farm().shows().iter().map(|show| show.used_ms).sum();
    used as f64 / (WHILE_MS * WORKERS * u64::from(DEVICES)) as f64
}
