//! Switches for planted bugs, so that the simulator can show that it would catch them. Without the feature `mutants`,
//! which only the simulator's own copy of this crate has, every switch is a constant `false` and leaves no trace.

/// A bug that can be planted, and what is wrong then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Reports count whatever their fence.
    FenceIgnored,
    /// A report of any attempt frees a busy device.
    EchoFreesDevice,
    /// Any worker may report on any attempt.
    AnyWorkerReports,
    /// A rank's ending counts each time that it is said.
    EndingsCountTwice,
    /// Silence never ends an attempt.
    LeaseNeverPasses,
    /// Deadlines never strike.
    DeadlinesNeverStrike,
    /// A device that was asked to stop is kept for ever.
    StopsNeverWaitedOut,
    /// Tries are not counted.
    BudgetIgnored,
    /// A task is given up one try too soon.
    BudgetShort,
    /// What waits out a failure never joins the line again.
    DelayedNeverDue,
    /// A cancelled job's ranks are not told to stop.
    RevokeForgotten,
    /// The tasks of a cancelled job are tried again.
    CancelledIsRetried,
    /// A gang starts without its last rank.
    RankMissing,
    /// A gang counts as done with its first rank.
    GangDoneWithFirst,
    /// Limits are not counted.
    LimitsUncounted,
    /// A show may hold any number of devices.
    QuotaIgnored,
    /// All shows weigh the same.
    WeightIgnored,
    /// A device that is kept for a gang is given to anybody.
    ReservationIgnored,
    /// A paused job goes on.
    PauseIgnored,
    /// A locked worker gets work.
    LocksIgnored,
    /// A lock is not written.
    LockUnwritten,
    /// Any worker will do, whatever tags were asked for.
    TagsIgnored,
    /// A second worker of one name takes the place of the first.
    NamesakeAccepted,
    /// A stream that was replaced still counts.
    OldSessionCounts,
    /// What a worker runs in vain is left running.
    StrangersKeepRunning,
    /// A skipped task is not counted as such.
    SkipUncounted,
    /// What waits for a skipped task waits on.
    SkipNotDone,
    /// A success is not written.
    SuccessUnwritten,
    /// That a settled job is open again is not written.
    ReopenedUnwritten,
    /// The bound of the fences is not written.
    FencesUnwritten,
    /// After a recovery, what was being published is rendered again.
    PublishingRequeued,
    /// After a recovery, what was being published is not published.
    PublishingForgotten,
    /// After a recovery, what waited out a failure is forgotten.
    DelayedForgotten,
    /// After a recovery, a task that was written as waiting waits for ever.
    WaitingForgotten,
    /// After a recovery, a gang's finished ranks hold their devices.
    DoneRanksHold,
    /// After a recovery, requests are not known again.
    RequestsForgotten,
    /// After a recovery, what runs is not counted for its show.
    ShareForgotten,
    /// After a show's task its devices still count.
    ShareKept,
    /// A task joins shots of another layer that are in flight.
    LaneOfAnother,
    /// One more shot is in flight than ranks share the model.
    LaneOverfull,
    /// A task joins shots in flight on devices that are kept for another.
    LaneNeverEnds,
    /// A task joins shots in flight although others that were to go first wait for a device.
    LaneGoesFirst,
    /// Each of several shots in flight is charged the whole time of their devices.
    LaneChargedTwice,
    /// Each of several shots in flight counts as the holder of their devices.
    LaneHeldTwice,
    /// After a recovery, one of several shots in flight is forgotten.
    LaneForgotten,
}

impl Mutant {
    pub const ALL: [Self; 45] = [
        Self::FenceIgnored,
        Self::EchoFreesDevice,
        Self::AnyWorkerReports,
        Self::EndingsCountTwice,
        Self::LeaseNeverPasses,
        Self::DeadlinesNeverStrike,
        Self::StopsNeverWaitedOut,
        Self::BudgetIgnored,
        Self::BudgetShort,
        Self::DelayedNeverDue,
        Self::RevokeForgotten,
        Self::CancelledIsRetried,
        Self::RankMissing,
        Self::GangDoneWithFirst,
        Self::LimitsUncounted,
        Self::QuotaIgnored,
        Self::WeightIgnored,
        Self::ReservationIgnored,
        Self::PauseIgnored,
        Self::LocksIgnored,
        Self::LockUnwritten,
        Self::TagsIgnored,
        Self::NamesakeAccepted,
        Self::OldSessionCounts,
        Self::StrangersKeepRunning,
        Self::SkipUncounted,
        Self::SkipNotDone,
        Self::SuccessUnwritten,
        Self::ReopenedUnwritten,
        Self::FencesUnwritten,
        Self::PublishingRequeued,
        Self::PublishingForgotten,
        Self::DelayedForgotten,
        Self::WaitingForgotten,
        Self::DoneRanksHold,
        Self::RequestsForgotten,
        Self::ShareForgotten,
        Self::ShareKept,
        Self::LaneOfAnother,
        Self::LaneOverfull,
        Self::LaneNeverEnds,
        Self::LaneGoesFirst,
        Self::LaneChargedTwice,
        Self::LaneHeldTwice,
        Self::LaneForgotten,
    ];
}

#[cfg(feature = "mutants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in every farm of this thread, or takes it out again.
#[cfg(feature = "mutants")]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

#[cfg(feature = "mutants")]
pub(crate) fn on(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}
