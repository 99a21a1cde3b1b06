//! What wranglers set: locks of workers, shares of shows, limits.

use croft_proto::v1::{
    DeleteLimitRequest, DrainWorkerRequest, ListLimitsRequest, ListShowsRequest, LockWorkerRequest,
    SetLimitRequest, UnlockWorkerRequest, UpdateShowRequest, Worker,
};
use serde_json::{Value, json};

use crate::{
    args::{self, Format},
    client::{self, Coordinator},
    exit::{Exit, Failed},
    json as values,
    output::{self, Table},
};

pub(super) async fn lock(args: args::Lock) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    let request =
        LockWorkerRequest { name: worker(&args.name), reason: args.reason, give_back: args.give_back };
    told(&coordinator.farm().lock_worker(client::request(request)).await?.into_inner())
}

pub(super) async fn drain(args: args::Lock) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    let request = DrainWorkerRequest { name: worker(&args.name), reason: args.reason };
    told(&coordinator.farm().drain_worker(client::request(request)).await?.into_inner())
}

pub(super) async fn unlock(args: args::OneOf) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    let request = UnlockWorkerRequest { name: worker(&args.name) };
    told(&coordinator.farm().unlock_worker(client::request(request)).await?.into_inner())
}

fn worker(name: &str) -> String {
    if name.starts_with("workers/") { name.to_owned() } else { format!("workers/{name}") }
}

fn told(worker: &Worker) -> Result<Exit, Failed> {
    let name = client::short(&worker.name);
    let running = worker.devices.iter().filter(|device| !device.running.is_empty()).count();
    let state = if worker.locks.is_empty() { "takes work".to_owned() } else { values::locks(&worker.locks) };
    output::line(&format!("worker {name}: {state}, {running} of {} devices busy", worker.devices.len()))?;
    Ok(Exit::Ok)
}

pub(super) async fn show(args: args::Show) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    if let Some(name) = &args.name
        && (args.weight.is_some() || args.max_devices.is_some())
    {
        let request = UpdateShowRequest {
            name: format!("shows/{name}"),
            weight: args.weight,
            max_devices: args.max_devices,
        };
        coordinator.farm().update_show(client::request(request)).await?;
    }
    let all = coordinator.farm().list_shows(client::request(ListShowsRequest {})).await?.into_inner().shows;
    let wanted = args.name.map(|name| format!("shows/{name}"));
    let shows = all.iter().filter(|show| wanted.as_ref().is_none_or(|wanted| *wanted == show.name));
    if args.output.output == Format::Json {
        let items: Vec<Value> = shows
            .map(|show| {
                json!({
                    "name": show.name, "weight": show.weight, "maxDevices": show.max_devices,
                    "devices": show.devices, "deviceSeconds": show.device_seconds, "jobsActive": show.jobs_active,
                })
            })
            .collect();
        output::json("ShowList", json!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["SHOW", "WEIGHT", "MAX DEVICES", "DEVICES", "DEVICE TIME", "ACTIVE JOBS"]);
    for show in shows {
        table.row([
            show.name.trim_start_matches("shows/").to_owned(),
            show.weight.to_string(),
            if show.max_devices == 0 { "-".to_owned() } else { show.max_devices.to_string() },
            show.devices.to_string(),
            output::duration((show.device_seconds * 1e3) as u64),
            show.jobs_active.to_string(),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

pub(super) async fn limit(args: args::Limit) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    match (&args.name, args.max, args.delete) {
        (Some(name), Some(max), _) => {
            let request = SetLimitRequest { name: format!("limits/{name}"), max };
            coordinator.farm().set_limit(client::request(request)).await?;
        }
        (Some(name), None, true) => {
            let request = DeleteLimitRequest { name: format!("limits/{name}") };
            coordinator.farm().delete_limit(client::request(request)).await?;
            output::line(&format!("limit {name} deleted; tasks that name it wait"))?;
            return Ok(Exit::Ok);
        }
        (_, None, _) | (None, Some(_), _) => {}
    }
    let all =
        coordinator.farm().list_limits(client::request(ListLimitsRequest {})).await?.into_inner().limits;
    let wanted = args.name.map(|name| format!("limits/{name}"));
    let limits = all.iter().filter(|limit| wanted.as_ref().is_none_or(|wanted| *wanted == limit.name));
    if args.output.output == Format::Json {
        let items: Vec<Value> =
            limits.map(|limit| json!({ "name": limit.name, "max": limit.max, "used": limit.used })).collect();
        output::json("LimitList", json!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["LIMIT", "MAX", "USED"]);
    for limit in limits {
        table.row([
            limit.name.trim_start_matches("limits/").to_owned(),
            limit.max.map_or_else(|| "not defined".to_owned(), |max| max.to_string()),
            limit.used.to_string(),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}
