//! Ranks on NVIDIA devices: what is large goes through NCCL, and all else through the connections that the ranks have.
//!
//! NCCL alone cannot tell that another rank's process is gone, or who it is that does not come; a call into it would wait for
//! ever. So the connections stay: over them the ranks compare their versions and hand round the communicator's id, and a
//! wait for NCCL watches them. Communicators do not block, every wait ends at its deadline, and a gang that broke is aborted.
//!
//! What NCCL sends is neither encrypted nor authenticated. Sums are taken in NCCL's own order: the same each time, but
//! not that of the other wires.

mod comm;
mod library;
mod stage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Broken, Fault, number::Number, tcp::Mesh};
use comm::{Comm, ID_BYTES};
use stage::Stage;

/// Devices get this long to find each other.
const GATHER: Duration = Duration::from_secs(60);
/// How long the others get to answer when somebody must be the one who is late.
const ROLL_CALL: Duration = Duration::from_secs(1);
/// Connections are looked at this often while NCCL works.
const LOOK: Duration = Duration::from_millis(20);

/// Why a gang has no NCCL, or has it no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The machine lacks a part.
    #[error("{0} was not found on this machine")]
    Absent(&'static str),
    #[error("CUDA says: {0}")]
    Cuda(String),
    #[error("NCCL says: {0}")]
    Nccl(String),
}

/// The version of NCCL on this machine, as NCCL writes it: 22809 for 2.28.9. All ranks of a gang must have the same.
///
/// # Errors
/// `Absent` without libnccl.so.2.
pub fn version() -> Result<u32, Trouble> {
    comm::version()
}

/// One rank's hold on its gang's devices.
#[derive(Debug)]
pub(super) struct Bond {
    pub(super) mesh: Mesh,
    comm: Comm,
    stage: Stage,
    ended: Arc<AtomicBool>,
}

/// Ends whatever waits for NCCL.
#[derive(Clone, Debug)]
pub(super) struct End {
    ended: Arc<AtomicBool>,
    mesh: super::tcp::End,
}

impl End {
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.mesh.end();
    }
}

/// What the ranks agree on before NCCL starts.
fn agree(mesh: &mut Mesh, me: usize, ranks: usize) -> Result<Vec<u8>, Broken> {
    let mine = version().map_err(|trouble| Broken::unable(me, trouble))?;
    let told = (0..ranks).map(|to| if to == me { Vec::new() } else { mine.to_le_bytes().to_vec() });
    for (rank, theirs) in exchange(mesh, me, told.collect(), GATHER)?.into_iter().enumerate() {
        if rank != me && theirs != mine.to_le_bytes() {
            let theirs = theirs.try_into().map_or(0, u32::from_le_bytes);
            let why =
                format!("it has NCCL {theirs} and rank {me} has {mine}: install the same on both machines");
            return Err(Broken::out_of_step(rank, why));
        }
    }
    let id = if me == 0 { comm::new_id().map_err(|trouble| Broken::unable(0, trouble))? } else { Vec::new() };
    let told = (0..ranks).map(|to| if me == 0 && to != 0 { id.clone() } else { Vec::new() });
    let heard = exchange(mesh, me, told.collect(), GATHER)?.swap_remove(0);
    let id = if me == 0 { id } else { heard };
    if id.len() == ID_BYTES { Ok(id) } else { Err(Broken::out_of_step(0, "its id is no id of NCCL")) }
}

/// Hands each rank its bytes and gives those that each rank handed to this one, rank `me`.
fn exchange(mesh: &mut Mesh, me: usize, parts: Vec<Vec<u8>>, wait: Duration) -> Result<Vec<Vec<u8>>, Broken> {
    let ranks = parts.len();
    for (to, part) in parts.iter().enumerate().filter(|(to, _)| *to != me) {
        mesh.pass(to, part, wait)?;
    }
    (0..ranks).map(|from| if from == me { Ok(Vec::new()) } else { mesh.take(from, wait, || ()) }).collect()
}

impl Bond {
    /// Brings the devices of connected ranks together, that of rank `me` being number `device` of its machine.
    pub(super) fn new(mut mesh: Mesh, me: usize, ranks: usize, device: usize) -> Result<Self, Broken> {
        let id = agree(&mut mesh, me, ranks)?;
        let mine = |trouble: Trouble| Broken::unable(me, trouble);
        let stage = Stage::new(device).map_err(mine)?;
        let comm = Comm::begin(&id, me, ranks).map_err(mine)?;
        let ended = Arc::new(AtomicBool::new(false));
        let mut bond = Self { mesh, comm, stage, ended };
        bond.until(GATHER, Comm::is_settled)?;
        Ok(bond)
    }

    pub(super) fn end(&self) -> End {
        End { ended: Arc::clone(&self.ended), mesh: self.mesh.end() }
    }

    /// Each value becomes the sum of all ranks' values.
    pub(super) fn all_reduce<T: Number>(&mut self, values: &mut [T], wait: Duration) -> Result<(), Broken> {
        let Self { stage, comm, .. } = self;
        let begun =
            stage.upload(values).and_then(|at| comm.all_reduce(at, values.len(), T::KIND, stage.stream()));
        self.finish(begun, wait)?;
        self.download(values)
    }

    /// The same for `count` numbers at `at` on the device, behind what `stream` was given.
    #[cfg(feature = "cuda")]
    pub(super) fn reduce_on_device(
        &mut self,
        at: u64,
        count: usize,
        kind: super::number::Kind,
        stream: cudarc::driver::sys::CUstream,
        wait: Duration,
    ) -> Result<(), Broken> {
        if let Err(trouble) = self.comm.all_reduce(at, count, kind, stream) {
            return Err(self.failed(&trouble));
        }
        self.until(wait, Comm::is_settled)?;
        self.until(wait, |_| stage::is_idle(stream))
    }

    /// Fills `all` with every rank's values, which may be of different numbers.
    pub(super) fn all_gather<T: Number>(
        &mut self,
        all: &mut [T],
        place: impl Fn(usize) -> std::ops::Range<usize>,
        wait: Duration,
    ) -> Result<(), Broken> {
        let Self { stage, comm, .. } = self;
        let places: Vec<_> = (0..comm.ranks()).map(place).collect();
        let begun = stage.upload(all).and_then(|at| comm.all_gather(at, &places, T::KIND, stage.stream()));
        self.finish(begun, wait)?;
        self.download(all)
    }

    /// Hands values to another rank, and waits until it has taken them.
    pub(super) fn pass<T: Number>(&mut self, to: usize, values: &[T], wait: Duration) -> Result<(), Broken> {
        let Self { stage, comm, .. } = self;
        let begun =
            stage.upload(values).and_then(|at| comm.send(at, values.len(), T::KIND, to, stage.stream()));
        self.finish(begun, wait)
    }

    /// Takes what rank `from` passed.
    pub(super) fn take<T: Number>(
        &mut self,
        from: usize,
        into: &mut [T],
        wait: Duration,
    ) -> Result<(), Broken> {
        let Self { stage, comm, .. } = self;
        let room = stage.room(size_of_val(into));
        let begun = room.and_then(|at| comm.receive(at, into.len(), T::KIND, from, stage.stream()));
        self.finish(begun, wait)?;
        self.download(into)
    }

    fn download<T: Number>(&mut self, into: &mut [T]) -> Result<(), Broken> {
        let me = self.comm.rank();
        self.stage.download(into).map_err(|trouble| Broken::unable(me, trouble))
    }

    /// Waits until the device has done what was begun.
    fn finish(&mut self, begun: Result<(), Trouble>, wait: Duration) -> Result<(), Broken> {
        if let Err(trouble) = begun {
            return Err(self.failed(&trouble));
        }
        self.until(wait, Comm::is_settled)?;
        let idle = self.stage.idle();
        self.until(wait, |_| idle())
    }

    /// Waits for `done`, and ends the gang when it does not come, or somebody is gone.
    fn until(
        &mut self,
        wait: Duration,
        mut done: impl FnMut(&Comm) -> Result<bool, Trouble>,
    ) -> Result<(), Broken> {
        let (until, mut look) = (Instant::now() + wait, Instant::now() + LOOK);
        loop {
            match self.comm.trouble().and_then(|()| done(&self.comm)) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(trouble) => return Err(self.failed(&trouble)),
            }
            if self.ended.load(Ordering::Relaxed) {
                self.comm.abort();
                return Err(Broken { rank: self.comm.rank(), fault: Fault::Aborted });
            }
            let now = Instant::now();
            if now >= until {
                return Err(self.broken(Fault::Late(wait)));
            }
            if now >= look {
                if let Some(broken) = self.mesh.gone() {
                    return Err(self.end_with(broken));
                }
                look = now + LOOK;
            }
            std::thread::yield_now();
        }
    }

    /// Whose a trouble is: CUDA speaks of this rank's own device, unless it felt another's end.
    fn failed(&mut self, trouble: &Trouble) -> Broken {
        match trouble {
            Trouble::Cuda(_) => {
                let mine = Broken::unable(self.comm.rank(), trouble);
                let broken = self.mesh.gone().unwrap_or(mine);
                self.end_with(broken)
            }
            Trouble::Absent(_) | Trouble::Nccl(_) => self.broken(Fault::Lost(trouble.to_string())),
        }
    }

    /// Finds out who it is that NCCL waits for: it does not say.
    fn broken(&mut self, fault: Fault) -> Broken {
        let (me, ranks) = (self.comm.rank(), self.comm.ranks());
        let absent = exchange(&mut self.mesh, me, vec![Vec::new(); ranks], ROLL_CALL).err();
        let other = (me + 1) % ranks;
        self.end_with(match absent {
            Some(Broken { rank, fault: Fault::Late(_) }) => Broken { rank, fault },
            Some(gone) => gone,
            None => Broken { rank: other, fault },
        })
    }

    fn end_with(&mut self, broken: Broken) -> Broken {
        self.comm.abort();
        self.mesh.end().end();
        broken
    }
}
