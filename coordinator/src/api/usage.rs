//! What was used, by show, job or task.

use croft_core::{
    ids::{JobId, TaskId},
    time::Time,
    usage::Usage,
};
use croft_proto::v1;
use tonic::Status;

use super::{
    auth::Call,
    convert, page,
    status::{invalid, not_found},
};
use crate::{handle::Handle, run::Desk};

/// One line, before it is put into the wire's words.
type Line = (String, String, Usage);

pub(super) async fn list(
    handle: &Handle,
    call: &Call,
    request: v1::ListUsageRequest,
) -> Result<v1::ListUsageResponse, Status> {
    let group = request.group_by();
    let v1::ListUsageRequest { parent, since_time, page_size, page_token, .. } = request;
    let since = Time(since_time.map_or(0, |at| u64::try_from(at.seconds).unwrap_or(0).saturating_mul(1_000)));
    let size = page::size(page_size);
    let (lines, next) = match group {
        v1::UsageGroup::Task => {
            let job = convert::parse_job("parent", &parent)?;
            call.is_about(handle, &job, &parent).await?;
            let after = page::read::<2>(&page_token)?.map(|[layer, task]| TaskId {
                job: job.clone(),
                layer: u32::try_from(layer).unwrap_or(u32::MAX),
                task: u32::try_from(task).unwrap_or(u32::MAX - 1),
            });
            let found = handle.ask(move |desk| tasks(desk, &job, since, after.as_ref(), size)).await?;
            found.ok_or_else(|| not_found("job", &parent))?
        }
        v1::UsageGroup::Show | v1::UsageGroup::Job | v1::UsageGroup::Unspecified => {
            let of = Of::parse(&parent)?;
            let by_job = group == v1::UsageGroup::Job || matches!(of, Of::Job(_));
            let lines = handle.ask(move |desk| if by_job { jobs(desk, since) } else { shows(desk, since) });
            let mut lines = lines.await?;
            lines.retain(|(name, show, _)| match &of {
                Of::Farm => true,
                Of::Show(wanted) => show == wanted,
                Of::Job(wanted) => *name == format!("jobs/{wanted}"),
            });
            lines.retain(|(_, show, _)| call.may_see(show).is_ok());
            if lines.is_empty() && !matches!(of, Of::Farm) {
                return Err(not_found("usage", &parent));
            }
            let from =
                page::read::<1>(&page_token)?.map_or(0, |[from]| usize::try_from(from).unwrap_or(usize::MAX));
            let more = lines.len() > from.saturating_add(size);
            let next = if more { page::write([(from + size) as u64]) } else { String::new() };
            (lines.into_iter().skip(from).take(size).collect(), next)
        }
    };
    Ok(v1::ListUsageResponse { usage: lines.into_iter().map(wire).collect(), next_page_token: next })
}

enum Of {
    Farm,
    Show(String),
    Job(JobId),
}

impl Of {
    fn parse(parent: &str) -> Result<Self, Status> {
        if parent.is_empty() {
            return Ok(Self::Farm);
        }
        if parent.starts_with("jobs/") {
            return Ok(Self::Job(convert::parse_job("parent", parent)?));
        }
        let show = parent.strip_prefix("shows/").filter(|show| !show.is_empty());
        let show =
            show.ok_or_else(|| invalid("parent", format!("'{parent}' is neither shows/SHOW nor jobs/JOB")))?;
        Ok(Self::Show(show.to_owned()))
    }
}

fn shows(desk: &mut Desk, since: Time) -> Vec<Line> {
    let shows = desk.farm.usage_by_show(since).into_iter();
    shows.map(|(show, usage)| (format!("shows/{show}"), show, usage)).collect()
}

fn jobs(desk: &mut Desk, since: Time) -> Vec<Line> {
    let jobs = desk.farm.usage_by_job(since).into_iter();
    jobs.map(|(job, show, usage)| (format!("jobs/{job}"), show, usage)).collect()
}

fn tasks(
    desk: &mut Desk,
    job: &JobId,
    since: Time,
    after: Option<&TaskId>,
    size: usize,
) -> Option<(Vec<Line>, String)> {
    let plan = desk.farm.plan(job)?;
    let mut found = desk.farm.usage_by_task(job, since, after, size + 1)?;
    let more = found.len() > size;
    found.truncate(size);
    let next = match found.last() {
        Some((last, _)) if more => page::write([u64::from(last.layer), u64::from(last.task)]),
        _ => String::new(),
    };
    let line = |(task, usage): (TaskId, Usage)| {
        let layer = plan.layers()[task.layer as usize].name.as_str();
        (convert::task_name(job, layer, task.task), plan.show().to_owned(), usage)
    };
    Some((found.into_iter().map(line).collect(), next))
}

fn wire((name, show, usage): Line) -> v1::Usage {
    v1::Usage {
        name,
        show,
        attempts: usage.attempts,
        attempts_wasted: usage.wasted,
        device_ms: usage.device_ms,
        device_wasted_ms: usage.wasted_ms,
        published_bytes: usage.bytes,
    }
}
