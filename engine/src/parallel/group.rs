//! What ranks do together: sum, gather, broadcast, wait for each other.
//!
//! All of it is made of one exchange, in which each rank hands every other rank some bytes. Sums are taken in the order
//! of the ranks, each part of them by one rank, so that they are the same bytes on all ranks, over threads and over
//! TCP, and each time.

use std::time::{Duration, Instant};

use super::{
    Broken, Mode, SIGN, Split,
    abort::{Abort, Ends},
    hears::Hears,
    number::{Number, bytes_of},
    tcp::Mesh,
    threads::Seat,
    turn::{Turn, Turns},
};

/// A step that takes longer than this many times the longest so far is not waited for.
const STEPS_WAITED: u32 = 3;
/// No wait is shorter: a machine may hiccup.
const WAIT_MIN: Duration = Duration::from_secs(2);
/// While nothing was measured: others may still be loading.
const WAIT_FIRST: Duration = Duration::from_secs(120);
/// While nothing was measured and ranks read their parts between what they do together.
const WAIT_READING: Duration = Duration::from_secs(600);

/// One rank's hold on its gang.
#[derive(Debug)]
pub struct Group {
    /// Given up first when this is dropped: saying goodbye needs none.
    turn: Option<Turn>,
    split: Split,
    wire: Wire,
    wait: Duration,
    idle: Duration,
    hears: Hears,
}

#[derive(Debug)]
enum Wire {
    Solo,
    Threads(Seat),
    Tcp(Mesh),
    #[cfg(feature = "nccl")]
    Nccl(Box<super::nccl::Bond>),
}

impl Group {
    /// Of one.
    pub fn solo() -> Self {
        Self::new(Split::whole(), Wire::Solo)
    }

    fn new(split: Split, wire: Wire) -> Self {
        Self { turn: None, split, wire, wait: WAIT_FIRST, idle: Duration::ZERO, hears: Hears::default() }
    }

    /// Ranks in this process, one a thread, each with an equal share.
    pub fn threads(ranks: usize) -> Vec<Self> {
        let seats = super::threads::seats(ranks).into_iter().enumerate();
        seats.map(|(rank, seat)| Self::new(Split::equal(rank, ranks), Wire::Threads(seat))).collect()
    }

    pub(super) fn tcp(split: Split, mesh: Mesh) -> Self {
        Self::new(split, Wire::Tcp(mesh))
    }

    /// Shares its device with other renders, one of which computes at a time: waits for its turn now, and stands aside for
    /// them while it waits for other ranks. `waits` is called now and then while it waits for either.
    ///
    /// It has the turn until it is dropped, also where it is alone.
    #[must_use]
    pub fn in_turns(mut self, turns: &Turns, waits: Box<dyn FnMut() + Send>) -> Self {
        self.hears = Hears(Some(waits));
        self.turn = Some(Turn::of(turns));
        self.take_turn();
        self
    }

    fn take_turn(&mut self) {
        let Self { turn: Some(turn), wire, hears, .. } = self else { return };
        let asked = Instant::now();
        turn.take(SIGN, || {
            wire.waits();
            hears.waits();
        });
        self.idle += asked.elapsed();
    }

    /// The same ranks, connected by TCP, whose sums and activations go from device to device from now on; this one's is
    /// number `device` of its machine. All of them must be told the same.
    ///
    /// # Errors
    /// Names the rank without a device, with another version of NCCL, or that did not come.
    #[cfg(feature = "nccl")]
    pub fn over_nccl(self, device: usize) -> Result<Self, Broken> {
        let (me, ranks) = (self.rank(), self.ranks());
        let wire = match self.wire {
            Wire::Tcp(mesh) => Wire::Nccl(Box::new(super::nccl::Bond::new(mesh, me, ranks, device)?)),
            Wire::Solo | Wire::Threads(_) | Wire::Nccl(_) => self.wire,
        };
        Ok(Self { wire, ..self })
    }

    /// The same ranks with other shares; all of them must be told the same.
    #[must_use]
    pub fn with_shares(self, shares: Vec<u32>) -> Self {
        assert_eq!(shares.len(), self.split.ranks(), "a share for each rank");
        Self { split: Split::uneven(self.split.rank(), shares).by(self.split.mode()), ..self }
    }

    /// The same ranks that share the work in another way; all of them must be told the same.
    #[must_use]
    pub fn by(self, mode: Mode) -> Self {
        Self { split: self.split.by(mode), ..self }
    }

    pub fn split(&self) -> &Split {
        &self.split
    }

    pub fn rank(&self) -> usize {
        self.split.rank()
    }

    pub fn ranks(&self) -> usize {
        self.split.ranks()
    }

    pub fn is_alone(&self) -> bool {
        self.split.is_whole()
    }

    /// Nobody is waited for any longer than this at once.
    pub fn set_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// Ranks read parts of their models from here to the end of the first step.
    pub fn expects_reading(&mut self) {
        self.wait = self.wait.max(WAIT_READING);
    }

    /// What it has spent waiting for its turn, and for ranks that were waiting themselves: no measure of a step.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// A step took so long: others are waited for a few times that.
    pub fn measured_step(&mut self, step: Duration) {
        self.wait = (step * STEPS_WAITED).max(WAIT_MIN);
    }

    /// For whoever must be able to end a wait.
    pub fn abort(&self) -> Abort {
        Abort(match &self.wire {
            Wire::Solo => Ends::Solo,
            Wire::Threads(seat) => Ends::Threads(seat.end()),
            Wire::Tcp(mesh) => Ends::Tcp(mesh.end()),
            #[cfg(feature = "nccl")]
            Wire::Nccl(bond) => Ends::Nccl(bond.end()),
        })
    }

    /// Each value becomes the sum of all ranks' values.
    ///
    /// # Errors
    /// When a rank is lost, late or out of step; the values are then worth nothing.
    pub fn all_reduce<T: Number>(&mut self, values: &mut [T]) -> Result<(), Broken> {
        if self.is_alone() {
            return Ok(());
        }
        #[cfg(feature = "nccl")]
        if let Wire::Nccl(bond) = &mut self.wire {
            return bond.all_reduce(values, self.wait);
        }
        let (me, ranks, len) = (self.rank(), self.ranks(), values.len());
        let even = |rank: usize| len * rank / ranks..len * (rank + 1) / ranks;
        // Each rank is handed its part by all others, and sums it.
        let parts = (0..ranks).map(|to| if to == me { Vec::new() } else { bytes_of(&values[even(to)]) });
        let handed = self.exchange(parts.collect())?;
        let mine = even(me);
        let mut sum = vec![0.0_f32; mine.len()];
        for (from, bytes) in handed.iter().enumerate() {
            if from == me {
                sum.iter_mut().zip(&values[mine.clone()]).for_each(|(sum, value)| *sum += value.widen());
                continue;
            }
            check(from, bytes, mine.len() * T::KIND.bytes())?;
            let theirs = bytes.chunks_exact(T::KIND.bytes()).map(T::read);
            sum.iter_mut().zip(theirs).for_each(|(sum, value)| *sum += value.widen());
        }
        let sums: Vec<T> = sum.into_iter().map(T::narrow).collect();
        values[mine].copy_from_slice(&sums);
        self.hand_out(&sums, values, even)
    }

    /// The same for `count` numbers of a device at `at`, behind what `stream` was given, where ranks are joined by NCCL.
    #[cfg(all(feature = "nccl", feature = "cuda"))]
    pub(crate) fn reduce_on_device(
        &mut self,
        at: u64,
        count: usize,
        kind: super::number::Kind,
        stream: cudarc::driver::sys::CUstream,
    ) -> Option<Result<(), Broken>> {
        let Wire::Nccl(bond) = &mut self.wire else { return None };
        Some(bond.reduce_on_device(at, count, kind, stream, self.wait))
    }

    /// Fills `all` with every rank's values; `place` says where a rank's lie, and this rank's are there already.
    ///
    /// # Errors
    /// As `all_reduce`.
    pub fn all_gather<T: Number>(
        &mut self,
        all: &mut [T],
        place: impl Fn(usize) -> std::ops::Range<usize>,
    ) -> Result<(), Broken> {
        #[cfg(feature = "nccl")]
        if let Wire::Nccl(bond) = &mut self.wire {
            return bond.all_gather(all, place, self.wait);
        }
        let mine = all[place(self.rank())].to_vec();
        self.hand_out(&mine, all, place)
    }

    /// Gives `mine` to every other rank and takes theirs.
    fn hand_out<T: Number>(
        &mut self,
        mine: &[T],
        all: &mut [T],
        place: impl Fn(usize) -> std::ops::Range<usize>,
    ) -> Result<(), Broken> {
        if self.is_alone() {
            return Ok(());
        }
        let me = self.rank();
        let told = bytes_of(mine);
        let copies = (0..self.ranks()).map(|to| if to == me { Vec::new() } else { told.clone() }).collect();
        for (from, bytes) in self.exchange(copies)?.into_iter().enumerate() {
            if from != me {
                let into = &mut all[place(from)];
                check(from, &bytes, into.len() * T::KIND.bytes())?;
                let theirs = bytes.chunks_exact(T::KIND.bytes()).map(T::read);
                into.iter_mut().zip(theirs).for_each(|(into, value)| *into = value);
            }
        }
        Ok(())
    }

    /// All ranks get the bytes of rank 0.
    ///
    /// # Errors
    /// As `all_reduce`.
    pub fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<(), Broken> {
        if self.is_alone() {
            return Ok(());
        }
        if self.rank() == 0 {
            return (1..self.ranks()).try_for_each(|to| self.hand(to, bytes));
        }
        *bytes = self.taken(0)?;
        Ok(())
    }

    /// Hands values to another rank, which takes them; does not wait for it.
    ///
    /// # Errors
    /// As `all_reduce`.
    pub fn pass<T: Number>(&mut self, to: usize, values: &[T]) -> Result<(), Broken> {
        #[cfg(feature = "nccl")]
        if let Wire::Nccl(bond) = &mut self.wire {
            return bond.pass(to, values, self.wait);
        }
        self.hand(to, &bytes_of(values))
    }

    /// Takes what rank `from` passed.
    ///
    /// # Errors
    /// As `all_reduce`.
    pub fn take<T: Number>(&mut self, from: usize, into: &mut [T]) -> Result<(), Broken> {
        if self.is_alone() {
            return Ok(());
        }
        #[cfg(feature = "nccl")]
        if let Wire::Nccl(bond) = &mut self.wire {
            return bond.take(from, into, self.wait);
        }
        let bytes = self.taken(from)?;
        check(from, &bytes, into.len() * T::KIND.bytes())?;
        let theirs = bytes.chunks_exact(T::KIND.bytes()).map(T::read);
        into.iter_mut().zip(theirs).for_each(|(into, value)| *into = value);
        Ok(())
    }

    /// Nothing more will be passed: the others need not wait for this one to end.
    pub fn finish(&mut self) {
        match &mut self.wire {
            Wire::Tcp(mesh) => mesh.finish(),
            #[cfg(feature = "nccl")]
            Wire::Nccl(bond) => bond.mesh.finish(),
            Wire::Solo | Wire::Threads(_) => {}
        }
    }

    /// Returns when all ranks have come this far.
    ///
    /// # Errors
    /// As `all_reduce`.
    pub fn barrier(&mut self) -> Result<(), Broken> {
        if self.is_alone() { Ok(()) } else { self.exchange(vec![Vec::new(); self.ranks()]).map(drop) }
    }

    /// Hands each rank its bytes and gives those that each rank handed to this one; one's own are empty.
    fn exchange(&mut self, parts: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Broken> {
        let me = self.rank();
        for (to, part) in parts.into_iter().enumerate().filter(|(to, _)| *to != me) {
            self.hand(to, &part)?;
        }
        (0..self.ranks()).map(|from| if from == me { Ok(Vec::new()) } else { self.taken(from) }).collect()
    }

    fn hand(&mut self, to: usize, part: &[u8]) -> Result<(), Broken> {
        match &mut self.wire {
            Wire::Solo => Ok(()),
            Wire::Threads(seat) => seat.pass(to, part.to_vec()),
            Wire::Tcp(mesh) => mesh.pass(to, part, self.wait),
            #[cfg(feature = "nccl")]
            Wire::Nccl(bond) => bond.mesh.pass(to, part, self.wait),
        }
    }

    /// What rank `from` handed over. Whoever must wait for it stands aside meanwhile; what is there already costs no turn.
    fn taken(&mut self, from: usize) -> Result<Vec<u8>, Broken> {
        if let Some(there) = self.wire.try_take(from) {
            return there;
        }
        if let Some(turn) = &mut self.turn {
            turn.leave();
        }
        let began = Instant::now();
        let hears = &mut self.hears;
        let mut over = |mesh: &mut Mesh| {
            let taken = mesh.take(from, self.wait, || hears.waits());
            self.idle += mesh.waited(from).map_or(Duration::ZERO, |to| to.saturating_duration_since(began));
            taken
        };
        let taken = match &mut self.wire {
            Wire::Solo => return Ok(Vec::new()),
            Wire::Threads(seat) => seat.take(from, self.wait),
            Wire::Tcp(mesh) => over(mesh),
            #[cfg(feature = "nccl")]
            Wire::Nccl(bond) => over(&mut bond.mesh),
        }?;
        self.take_turn();
        Ok(taken)
    }
}

impl Wire {
    fn try_take(&mut self, from: usize) -> Option<Result<Vec<u8>, Broken>> {
        match self {
            Self::Solo => None,
            Self::Threads(seat) => seat.try_take(from),
            Self::Tcp(mesh) => mesh.try_take(from),
            #[cfg(feature = "nccl")]
            Self::Nccl(bond) => bond.mesh.try_take(from),
        }
    }

    /// Tells the others that this rank waits. Ranks that are threads of one process see no more of each other than that
    /// they are slow.
    fn waits(&self) {
        match self {
            Self::Tcp(mesh) => mesh.waits(),
            #[cfg(feature = "nccl")]
            Self::Nccl(bond) => bond.mesh.waits(),
            Self::Solo | Self::Threads(_) => {}
        }
    }
}

fn check(rank: usize, bytes: &[u8], expected: usize) -> Result<(), Broken> {
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(Broken::out_of_step(rank, format!("it sent {} bytes where {expected} belong", bytes.len())))
    }
}
