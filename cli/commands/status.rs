//! `croft status`: who leads, what is free and what waits.

use croft_proto::v1::{CoordinatorRole, FarmStatus, GetFarmStatusRequest};
use serde_json::json;

use crate::{
    args::{self, Format},
    client::{self, Coordinator},
    exit::{Exit, Failed},
    output::{self, Table},
};

pub(super) async fn run(args: args::Status) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    let status =
        coordinator.farm().get_farm_status(client::request(GetFarmStatusRequest {})).await?.into_inner();
    if args.output.output == Format::Json {
        let value = json!({
            "version": status.version, "role": role(&status), "leader": status.leader, "trouble": status.trouble,
            "stateStore": status.state_store, "epoch": status.epoch, "workers": status.workers,
            "devices": status.devices, "devicesBusy": status.devices_busy, "jobsActive": status.jobs_active,
            "tasksQueued": status.tasks_queued, "tasksRunning": status.tasks_running,
            "artifacts": status.artifacts,
        });
        output::json("FarmStatus", value)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        "COORDINATOR",
        "ROLE",
        "STATE IN",
        "WORKERS",
        "DEVICES",
        "BUSY",
        "JOBS",
        "QUEUED",
        "RUNNING",
        "TROUBLE",
    ]);
    table.row([
        coordinator.address.clone(),
        role(&status).to_owned(),
        status.state_store,
        status.workers.to_string(),
        status.devices.to_string(),
        status.devices_busy.to_string(),
        status.jobs_active.to_string(),
        status.tasks_queued.to_string(),
        status.tasks_running.to_string(),
        status.trouble,
    ]);
    table.print()?;
    Ok(Exit::Ok)
}

fn role(status: &FarmStatus) -> &'static str {
    match status.role() {
        CoordinatorRole::Leader => "LEADER",
        CoordinatorRole::Follower => "FOLLOWER",
        CoordinatorRole::Unspecified => "UNKNOWN",
    }
}
