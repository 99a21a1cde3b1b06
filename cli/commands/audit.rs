//! `croft audit`: who did what, and what was refused, the newest first.

use croft_proto::v1::{AuditEvent, ListAuditEventsRequest};
use serde_json::{Value, json};

use crate::{
    args::{self, Format},
    client::{self, Coordinator},
    clock,
    exit::{Exit, Failed},
    output::{self, Table},
};

/// Events asked for at once.
const PAGE: usize = 500;

pub(super) async fn run(args: args::Audit) -> Result<Exit, Failed> {
    let coordinator = Coordinator::find(&args.client).await?;
    let since = args.since.map(|ago| {
        let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        prost_types::Timestamp { seconds: clock::unix_seconds().saturating_sub(ago).max(0), nanos: 0 }
    });
    let mut events: Vec<AuditEvent> = Vec::new();
    let mut page_token = String::new();
    while events.len() < args.limit {
        let request = ListAuditEventsRequest {
            page_size: u32::try_from(PAGE.min(args.limit - events.len())).unwrap_or(u32::MAX),
            page_token,
            since,
            who: args.who.clone(),
            method: args.method.clone(),
            refused_only: args.denied,
        };
        let page = coordinator.farm().list_audit_events(client::request(request)).await?.into_inner();
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    if args.output.output == Format::Json {
        let items: Vec<Value> = events.iter().map(event).collect();
        output::json("AuditEventList", json!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table =
        Table::new(&["TIME", "WHO", "ROLE", "FROM", "METHOD", "RESOURCE", "RESULT", "REASON", "TIMES"]);
    for event in events {
        table.row([
            event.time.map_or_else(String::new, |at| output::utc(at.seconds)),
            event.who,
            event.role,
            event.from,
            event.method,
            event.resource,
            event.result,
            event.reason,
            event.times.to_string(),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

fn event(event: &AuditEvent) -> Value {
    json!({
        "time": event.time.map(|at| at.to_string()), "who": event.who, "role": event.role,
        "serial": event.serial, "from": event.from, "method": event.method, "resource": event.resource,
        "requestId": event.request_id, "result": event.result, "reason": event.reason, "times": event.times,
    })
}
