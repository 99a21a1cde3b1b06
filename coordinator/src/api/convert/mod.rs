//! The one place where protobuf becomes the mind's words and back. What a stranger wrote is checked here.

mod audit;
mod names;
mod plan;
mod values;
mod views;
mod worker;

pub(super) use audit::{audit_event, time};
pub(super) use names::{parse_job, parse_task, selector, task_name};
pub(super) use plan::{job_planned, plan};
pub(super) use values::artifact;
pub(super) use views::{job, limit, progress, show, status, task, timestamp, wait, worker};
pub(super) use worker::{Named, attempt, event, hello, rank_address, rank_of};
pub(crate) use worker::{assignment, attempt_ref};
