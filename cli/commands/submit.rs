//! `croft submit`: creates a job, and follows it when asked to.

use croft_proto::{
    egress::Guard,
    trace::{self, Kind, Span, Traces},
    v1::{CreateJobRequest, Job},
};
use uuid::Uuid;

use super::watch;
use crate::{
    args::{self, Format},
    client::{self, Coordinator},
    clock, config,
    exit::{Exit, Failed},
    json, output,
    progress::Screen,
    spec_file::SpecFile,
    telemetry::Otlp,
};

pub(super) async fn run(args: args::Submit) -> Result<Exit, Failed> {
    let file = SpecFile::read(&args.spec.file, &args.spec.set)?;
    // What any coordinator would refuse is told without asking one.
    file.parse()?;
    let coordinator = Coordinator::find(&args.client).await?;
    let otlp =
        Otlp::start("croft-client", &config::Telemetry::of_client(args.telemetry)?, &Guard::default())?;
    let job =
        create(&coordinator, file, args.request_id.unwrap_or_else(Uuid::new_v4), &otlp.traces()).await?;
    otlp.finish().await;
    let format = args.output.output;
    for warning in &job.warnings {
        tracing::warn!("{}", output::clean(warning));
    }
    match format {
        Format::Json if args.watch => output::json_line("Job", json::job(&job))?,
        Format::Json => output::json("Job", json::job(&job))?,
        Format::Table if output::for_people() => {
            let tasks = job.counts.as_ref().map_or(0, crate::progress::total);
            output::line(&format!("job {} created, {tasks} tasks", client::short(&job.name)))?;
        }
        Format::Table => output::line(&client::short(&job.name))?,
    }
    if args.watch {
        watch::to_the_end(&coordinator, &job.name, &Screen::new(format)).await
    } else {
        Ok(Exit::Ok)
    }
}

/// Sends the spec. The same `request` gives the same job, so that a submission may be repeated when its answer
/// was lost.
pub(super) async fn create(
    coordinator: &Coordinator,
    file: SpecFile,
    request: Uuid,
    traces: &Traces,
) -> Result<Job, Failed> {
    let (place, began) = (traces.root(), clock::moment());
    let message = CreateJobRequest {
        files: file.files.into_iter().collect(),
        spec: file.text,
        request_id: request.to_string(),
        validate_only: false,
        set: file.set,
        spec_name: file.name,
    };
    let mut request = client::request(message);
    if let Some(value) = place.and_then(|place| place.to_string().parse().ok()) {
        request.metadata_mut().insert(trace::METADATA, value);
    }
    let created = coordinator.jobs().create_job(request).await;
    if let Some(place) = place {
        let span = Span::new("submit", place, began, clock::moment());
        let error = created.as_ref().err().map(|status| status.message().to_owned());
        traces.record(Span { kind: Kind::Client, error, ..span });
    }
    Ok(created?.into_inner())
}
