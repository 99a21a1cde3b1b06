//! What a rank gives up before it reads its first model: files of models come from outside and are not trusted.
//!
//! It writes below its scratch folder alone, starts no program, signals nobody, looks into no other process, and has no network:
//! a rank of a gang has TCP, and no other rank any. What a kernel is too old for is left out, and said. The rank does this
//! to itself, so that it needs no privilege, and cannot take it back. What a rank on an NVIDIA device keeps besides is in
//! `needs`.

mod needs;

use std::{collections::BTreeMap, fmt, path::Path};

use croft_engine::device::Device;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use needs::Needs;

/// The newest kernel interface that the rules below are written for; older ones enforce what they know.
const LANDLOCK: ABI = ABI::V6;
/// Where the system keeps devices.
const DEVICES: &str = "/dev";
/// The bits of a socket's type that are no flags.
const KINDS: u64 = 0xf;

/// What a rank does not need, and a program that took it over would.
const NEVER: [libc::c_long; 30] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // It makes system calls that no filter sees.
    libc::SYS_io_uring_setup,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
];

/// What a rank may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Nothing: it renders alone.
    None,
    /// TCP, for the other ranks of its gang.
    Gang,
}

/// How much of it this machine enforces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    pub files: Enforced,
    pub calls: Enforced,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforced {
    Wholly,
    /// An older kernel lacks some of it.
    Partly,
    Not(String),
}

impl Enforced {
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::Wholly
    }
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wholly => f.write_str("enforced"),
            Self::Partly => f.write_str("enforced in part, the kernel is older than 6.12"),
            Self::Not(why) => write!(f, "not enforced: {why}"),
        }
    }
}

/// Confines the calling thread and those that it will start, for good, to what a rank on `device` needs.
#[must_use]
pub fn confine(scratch: &Path, network: Network, device: Device) -> Confinement {
    let needs = Needs::of(scratch, network, device, &names(DEVICES));
    // Landlock makes system calls that the filter need not know of, so it comes first.
    let files = match files(&needs) {
        Ok(enforced) => enforced,
        Err(error) => Enforced::Not(error.to_string()),
    };
    let calls = filter(&needs).and_then(|program| seccompiler::apply_filter(&program));
    let calls = calls.map_or_else(|error| Enforced::Not(error.to_string()), |()| Enforced::Wholly);
    Confinement { files, calls }
}

/// What this machine would enforce, tried on a thread that ends with the question.
#[must_use]
pub fn examine(scratch: &Path) -> Confinement {
    let scratch = scratch.to_owned();
    let tried = std::thread::spawn(move || confine(&scratch, Network::None, Device::Cpu)).join();
    tried.unwrap_or_else(|_| {
        let why = || Enforced::Not("the trial panicked".to_owned());
        Confinement { files: why(), calls: why() }
    })
}

/// What is in a folder; nothing, where it cannot be read.
fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn files(needs: &Needs) -> Result<Enforced, Box<dyn std::error::Error>> {
    let read = AccessFs::from_read(LANDLOCK) & !AccessFs::Execute;
    let scopes = if needs.meets_neighbours { Scope::Signal.into() } else { Scope::from_all(LANDLOCK) };
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(scopes)?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, read))?;
    for place in &needs.places {
        match PathFd::new(&place.path) {
            Ok(path) => {
                rules = rules.add_rule(PathBeneath::new(&path, place.may))?;
                // A rule is for a file that the kernel has in mind, and those of /proc it forgets when nobody holds them.
                if place.path.starts_with("/proc") {
                    std::mem::forget(path);
                }
            }
            Err(error) if place.must_be_there => return Err(error.into()),
            // What this machine does not have, nobody can reach.
            Err(_) => {}
        }
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Wholly,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Not("this kernel runs without Landlock".to_owned()),
    })
}

fn filter(needs: &Needs) -> Result<BpfProgram, seccompiler::Error> {
    let refused = NEVER.iter().chain(needs.refused);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = refused.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, refused_sockets(needs)?);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture()?)?;
    Ok(filter.try_into()?)
}

/// Rules for sockets that are not needed: each is one that is refused. None at all refuse every socket.
fn refused_sockets(needs: &Needs) -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let argument = |at, op, value: u64| SeccompCondition::new(at, SeccompCmpArgLen::Dword, op, value);
    let family = |op, family: i32| argument(0, op, u64::from(family.unsigned_abs()));
    if needs.sockets.is_empty() {
        return Ok(Vec::new());
    }
    let others: Result<Vec<_>, _> =
        needs.sockets.iter().map(|socket| family(SeccompCmpOp::Ne, socket.family)).collect();
    let mut rules = vec![SeccompRule::new(others?)?];
    for socket in &needs.sockets {
        for kind in (0..=KINDS).filter(|kind| !socket.kinds.contains(kind)) {
            rules.push(SeccompRule::new(vec![
                family(SeccompCmpOp::Eq, socket.family)?,
                argument(1, SeccompCmpOp::MaskedEq(KINDS), kind)?,
            ])?);
        }
        if let Some(protocol) = socket.protocol {
            rules.push(SeccompRule::new(vec![
                family(SeccompCmpOp::Eq, socket.family)?,
                argument(2, SeccompCmpOp::Ne, protocol)?,
            ])?);
        }
    }
    Ok(rules)
}

fn architecture() -> Result<TargetArch, seccompiler::Error> {
    Ok(std::env::consts::ARCH.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{Ipv4Addr, TcpListener, UdpSocket},
        os::unix::net::{UnixDatagram, UnixStream},
        process::Command,
        time::Duration,
    };

    use croft_engine::parallel::{Listener, Peer, Roll, Token};

    use super::*;

    /// What a confined thread could still do, by name.
    fn could(network: Network, device: Device) -> (Confinement, Vec<&'static str>) {
        let dir = tempfile::tempdir().expect("scratch");
        let [scratch, elsewhere] = ["scratch", "elsewhere"].map(|name| dir.path().join(name));
        for folder in [&scratch, &elsewhere] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join("model"), "x").expect("written");
        }
        let trial = std::thread::spawn(move || {
            let confinement = confine(&scratch, network, device);
            let trials = [
                ("read", fs::read(elsewhere.join("model")).is_ok()),
                ("write in scratch", fs::write(scratch.join("frame"), "x").is_ok()),
                ("write elsewhere", fs::write(elsewhere.join("frame"), "x").is_ok()),
                ("remove elsewhere", fs::remove_file(elsewhere.join("model")).is_ok()),
                ("tcp", TcpListener::bind("127.0.0.1:0").is_ok()),
                ("udp", UdpSocket::bind("127.0.0.1:0").is_ok()),
                ("unix datagrams", UnixDatagram::unbound().is_ok()),
                ("forget its peak", fs::write("/proc/self/clear_refs", "5").is_ok()),
                ("name its threads", names_a_thread()),
                (
                    "unix",
                    UnixStream::connect(scratch.join("none"))
                        .is_err_and(|e| e.raw_os_error() == Some(libc::ENOENT)),
                ),
                ("run a program", Command::new("true").status().is_ok()),
            ];
            (confinement, trials.into_iter().filter(|(_, could)| *could).map(|(name, _)| name).collect())
        });
        trial.join().expect("it does not panic")
    }

    #[test]
    fn a_rank_alone_reads_and_writes_its_scratch_and_nothing_else() {
        let (confinement, mut could) = could(Network::None, Device::Cpu);
        could.sort_unstable();
        assert_eq!(confinement.calls, Enforced::Wholly);
        let mut expected = vec!["read", "write in scratch", "forget its peak"];
        if matches!(confinement.files, Enforced::Not(_)) {
            // The test is of this machine as well: what is not enforced must be said, and not be half so.
            expected.extend(["write elsewhere", "remove elsewhere", "name its threads"]);
        }
        expected.sort_unstable();
        assert_eq!(could, expected);
    }

    /// Another thread's name, as the driver writes it.
    fn names_a_thread() -> bool {
        let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let other = std::thread::spawn(move || {
            let _ = tell.send(rustix::thread::gettid());
            let _ = wait.recv();
        });
        let id = told.recv().expect("it says").as_raw_nonzero();
        let named = fs::write(format!("/proc/self/task/{id}/comm"), "x").is_ok();
        drop(done);
        other.join().expect("it ends");
        named
    }

    #[test]
    fn a_rank_on_a_device_does_what_its_driver_asks_and_still_writes_nowhere() {
        const CUDA: Device = Device::Cuda { ordinal: 0 };
        let (confinement, alone) = could(Network::None, CUDA);
        let never = ["write elsewhere", "remove elsewhere"];
        for could in &alone {
            let is_let = ["read", "write in scratch", "forget its peak", "name its threads"].contains(could);
            let is_lax = matches!(confinement.files, Enforced::Not(_)) && never.contains(could);
            assert!(is_let || is_lax, "{alone:?}");
        }
        assert!(alone.contains(&"name its threads"), "without it the driver does not start: {alone:?}");
        let (_, gang) = could(Network::Gang, CUDA);
        for could in ["tcp", "unix datagrams", "name its threads"] {
            assert!(gang.contains(&could), "{could}: {gang:?}");
        }
        for never in ["udp", "unix", "run a program"] {
            assert!(!gang.contains(&never), "{never}: {gang:?}");
        }
    }

    /// Sockets as their families, kinds and protocols, on a confined thread.
    fn opens(network: Network, device: Device) -> Vec<&'static str> {
        use rustix::net::{AddressFamily as Family, SocketType as Kind, netlink, socket};
        let dir = tempfile::tempdir().expect("scratch");
        let scratch = dir.path().to_owned();
        let trial = std::thread::spawn(move || {
            let confinement = confine(&scratch, network, device);
            assert_eq!(confinement.calls, Enforced::Wholly);
            let trials = [
                ("tcp", socket(Family::INET, Kind::STREAM, None)),
                ("tcp6", socket(Family::INET6, Kind::STREAM, None)),
                ("sctp", socket(Family::INET, Kind::SEQPACKET, None)),
                ("udp", socket(Family::INET, Kind::DGRAM, None)),
                ("unix stream", socket(Family::UNIX, Kind::STREAM, None)),
                ("unix datagrams", socket(Family::UNIX, Kind::DGRAM, None)),
                ("unix packets", socket(Family::UNIX, Kind::SEQPACKET, None)),
                ("routes", socket(Family::NETLINK, Kind::RAW, None)),
                ("audit", socket(Family::NETLINK, Kind::RAW, Some(netlink::AUDIT))),
            ];
            // EPERM is ours; a machine may lack a family besides.
            let refused =
                |opened: &Result<_, rustix::io::Errno>| matches!(opened, Err(rustix::io::Errno::PERM));
            trials
                .into_iter()
                .filter(|(_, opened)| !refused(opened))
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        });
        trial.join().expect("it does not panic")
    }

    #[test]
    fn each_rank_has_its_own_sockets_and_no_other() {
        const CUDA: Device = Device::Cuda { ordinal: 0 };
        assert!(opens(Network::None, Device::Cpu).is_empty());
        assert_eq!(opens(Network::Gang, Device::Cpu), ["tcp", "tcp6"]);
        assert_eq!(opens(Network::None, CUDA), ["unix packets"]);
        assert_eq!(opens(Network::Gang, CUDA), ["tcp", "tcp6", "unix datagrams", "unix packets", "routes"]);
    }

    #[test]
    fn a_rank_of_a_gang_has_tcp_and_no_names() {
        let (_, could) = could(Network::Gang, Device::Cpu);
        assert!(could.contains(&"tcp"), "{could:?}");
        for never in ["udp", "unix", "unix datagrams", "run a program"] {
            assert!(!could.contains(&never), "{could:?}");
        }
    }

    #[test]
    fn ranks_that_are_confined_meet_and_speak() {
        let dir = tempfile::tempdir().expect("scratch");
        let listeners = [0, 1].map(|_| Listener::bind(Ipv4Addr::LOCALHOST.into()).expect("loopback"));
        let peers: Vec<Peer> =
            listeners.iter().map(|l| Peer { address: l.address().expect("bound"), share: 1 }).collect();
        let ranks = (0..).zip(listeners).map(|(rank, listener)| {
            let (scratch, peers) = (dir.path().to_owned(), peers.clone());
            std::thread::spawn(move || {
                let confinement = confine(&scratch, Network::Gang, Device::Cpu);
                assert_eq!(confinement.calls, Enforced::Wholly);
                let roll = Roll { rank, peers, token: Token([5; 32]), generation: 1 };
                let mut group =
                    listener.join(&roll, Duration::from_secs(10)).expect("nothing is in their way");
                let mut values = [1.0_f32; 100];
                group.all_reduce(&mut values).expect("summed");
                assert!(values.iter().all(|value| *value == 2.0));
            })
        });
        ranks.collect::<Vec<_>>().into_iter().for_each(|rank| rank.join().expect("it does not panic"));
    }
}
