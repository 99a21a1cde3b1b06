//! `croft workers`: the farm's hands, a row for each device.

use croft_proto::v1::ListWorkersRequest;
use serde_json::{Value, json as value};

use crate::{
    args::{self, Format},
    client::{self, Coordinator},
    exit::{Exit, Failed},
    json,
    output::{self, Table},
};

/// Workers asked for at once.
const PAGE: u32 = 500;

pub(super) async fn run(args: args::Workers) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    let workers = client::all(async |page_token| {
        let request = ListWorkersRequest { page_size: PAGE, page_token };
        let page = coordinator.farm().list_workers(client::request(request)).await?.into_inner();
        Ok((page.workers, page.next_page_token))
    });
    let workers = workers.await?;
    if args.output.output == Format::Json {
        let items: Vec<Value> = workers.iter().map(json::worker).collect();
        output::json("WorkerList", value!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        "DEVICE", "STATE", "HOST", "KIND", "MEMORY", "RUNNING", "DONE", "FAILED", "RESIDENT", "TAGS",
    ]);
    for worker in &workers {
        for device in &worker.devices {
            table.row([
                client::short(&device.name),
                match worker.locks.is_empty() {
                    true => json::worker_state(worker.state()).to_owned(),
                    false => json::locks(&worker.locks),
                },
                worker.host.clone(),
                format!("{} {} x{}", device.kind, device.model, device.threads),
                output::bytes(device.memory_bytes),
                device.running.join(" "),
                device.succeeded.to_string(),
                device.failed.to_string(),
                device.resident_models.join(" "),
                worker.tags.join(","),
            ]);
        }
    }
    table.print()?;
    Ok(Exit::Ok)
}
