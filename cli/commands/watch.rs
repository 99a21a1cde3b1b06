//! `croft watch`: follows a job until it settles, across interruptions of the connection.

use std::time::{Duration, Instant};

use croft_proto::v1::{Job, JobState, WatchJobRequest};
use tonic::Code;

use crate::{
    args,
    client::{Coordinator, Target},
    exit::{Exit, Failed},
    interrupt::Interrupts,
    progress::{Board, Screen},
};

/// How often what is shown is brought up to date where no event comes.
const REFRESH: Duration = Duration::from_millis(250);

/// A stream that breaks is dialled again this often, with these pauses, before the coordinator counts as gone.
const REDIALS: u32 = 8;
const REDIAL_PAUSE_MAX: Duration = Duration::from_secs(8);

pub(super) async fn run(args: args::OneJob) -> Result<Exit, Failed> {
    let target = Target::parse(&args.job)?;
    let coordinator = Coordinator::find(&args.client).await?;
    to_the_end(&coordinator, &target.job_name(), &Screen::new(args.output.output)).await
}

/// Follows `job`, as a command: the exit code tells how it went, an interrupt leaves the job alone.
pub(super) async fn to_the_end(
    coordinator: &Coordinator,
    job: &str,
    screen: &Screen,
) -> Result<Exit, Failed> {
    let mut interrupts = Interrupts::listen()?;
    let followed = tokio::select! {
        followed = follow(coordinator, job, screen) => followed,
        exit = interrupts.next() => {
            screen.close();
            screen.note(&format!("{} goes on; `croft watch` follows it again", crate::client::short(job)));
            return Ok(exit);
        }
    };
    screen.close();
    let job = followed?;
    Ok(match job.state() {
        JobState::Succeeded => Exit::Ok,
        JobState::Failed | JobState::Cancelled | JobState::Active | JobState::Unspecified => Exit::JobFailed,
    })
}

/// Follows `job` until it has settled.
pub(super) async fn follow(coordinator: &Coordinator, job: &str, screen: &Screen) -> Result<Job, Failed> {
    let mut coordinator = coordinator.clone();
    let mut board = Board::default();
    let mut token = String::new();
    let mut broken = 0;
    loop {
        let before = token.clone();
        match stream(&coordinator, job, screen, &mut board, &mut token).await {
            Ok(Some(settled)) => return Ok(settled),
            Ok(None) => {}
            Err(Broken::ForGood(failed)) => return Err(failed),
            Err(Broken::Status(status)) if broken >= REDIALS => return Err(status.into()),
            Err(Broken::Status(_)) => {}
        }
        broken = if token == before { broken + 1 } else { 1 };
        if broken > REDIALS {
            return Err(Failed::with(
                Exit::Unreachable,
                format!("the coordinator ends every watch of {job}"),
            ));
        }
        let pause = (REFRESH * 2_u32.saturating_pow(broken)).min(REDIAL_PAUSE_MAX);
        screen.note(&format!("lost the coordinator, again in {:.1} s", pause.as_secs_f64()));
        tokio::time::sleep(pause).await;
        // Another may lead now; one that does not answer yet is dialled again with the next try.
        if let Ok(found) = coordinator.again().await {
            coordinator = found;
        }
    }
}

/// Why a stream ended.
enum Broken {
    /// Another try may go better.
    Status(tonic::Status),
    ForGood(Failed),
}

/// One stream, from `token` on; `None` when it ended before the job did.
async fn stream(
    coordinator: &Coordinator,
    job: &str,
    screen: &Screen,
    board: &mut Board,
    token: &mut String,
) -> Result<Option<Job>, Broken> {
    let request = WatchJobRequest { name: job.to_owned(), resume_token: token.clone() };
    let mut events = coordinator.jobs().watch_job(request).await.map_err(classify)?.into_inner();
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = events.message() => {
                let Some(event) = event.map_err(classify)? else { return Ok(None) };
                screen.event(&event).map_err(Broken::ForGood)?;
                token.clone_from(&event.resume_token);
                let now = Instant::now();
                let happenings = board.apply(event, now);
                screen.show(board, &happenings, now);
                if let Some(settled) = board.settled() {
                    return Ok(Some(settled.clone()));
                }
            }
            _ = refresh.tick() => screen.show(board, &[], Instant::now()),
        }
    }
}

fn classify(status: tonic::Status) -> Broken {
    match status.code() {
        // h2 says Unknown or Internal for a connection that was cut.
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded => {
            Broken::Status(status)
        }
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => Broken::ForGood(status.into()),
    }
}
