//! `croft usage`: device time, attempts and bytes, by show, job or task.

use croft_proto::v1::{ListUsageRequest, Usage, UsageGroup};
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::{
    args::{self, Format, Since},
    client::{self, Coordinator, Target},
    clock,
    exit::{Exit, Failed},
    output::{self, Table, bytes, duration},
};

/// Lines asked for at once.
const PAGE: u32 = 1000;
const DAY_SECONDS: i64 = 24 * 3600;

pub(super) async fn run(args: args::Usage) -> Result<Exit, Failed> {
    let (parent, group) = match (&args.job, &args.show) {
        (Some(job), _) if args.tasks => (Target::parse(job)?.job_name(), UsageGroup::Task),
        (Some(job), _) => (Target::parse(job)?.job_name(), UsageGroup::Job),
        (None, Some(show)) => (format!("shows/{show}"), UsageGroup::Job),
        (None, None) => (String::new(), UsageGroup::Show),
    };
    let since_time = args.since.map(|since| Timestamp { seconds: seconds(since), nanos: 0 });
    let coordinator = Coordinator::find(&args.client).await?;
    let lines = all(&coordinator, &parent, group, since_time).await?;
    if args.output.output == Format::Json {
        let items: Vec<Value> = lines.iter().map(value).collect();
        output::json("UsageList", json!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let title = match group {
        UsageGroup::Task => "TASK",
        UsageGroup::Job => "JOB",
        UsageGroup::Show | UsageGroup::Unspecified => "SHOW",
    };
    let mut table =
        Table::new(&[title, "SHOW", "ATTEMPTS", "WASTED", "DEVICE TIME", "WASTED TIME", "PUBLISHED"]);
    for line in &lines {
        table.row([
            line.name.strip_prefix("shows/").map_or_else(|| client::short(&line.name), str::to_owned),
            line.show.clone(),
            line.attempts.to_string(),
            line.attempts_wasted.to_string(),
            duration(line.device_ms),
            duration(line.device_wasted_ms),
            bytes(line.published_bytes),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

async fn all(
    coordinator: &Coordinator,
    parent: &str,
    group: UsageGroup,
    since_time: Option<Timestamp>,
) -> Result<Vec<Usage>, Failed> {
    let lines = client::all(async |page_token| {
        let request = ListUsageRequest {
            parent: parent.to_owned(),
            group_by: group.into(),
            since_time,
            page_size: PAGE,
            page_token,
        };
        let page = coordinator.farm().list_usage(client::request(request)).await?.into_inner();
        Ok((page.usage, page.next_page_token))
    });
    lines.await
}

/// When the day began, since the epoch.
fn seconds(since: Since) -> i64 {
    match since {
        Since::DaysAgo(days) => clock::unix_seconds() - i64::from(days) * DAY_SECONDS,
        Since::Day { year, month, day } => output::days(year, month, day) * DAY_SECONDS,
    }
}

fn value(line: &Usage) -> Value {
    json!({
        "name": line.name, "show": line.show, "attempts": line.attempts, "attemptsWasted": line.attempts_wasted,
        "deviceMs": line.device_ms, "deviceWastedMs": line.device_wasted_ms,
        "publishedBytes": line.published_bytes,
    })
}
