//! What a rank gives up before it reads its first model: files of models come from outside and are not trusted.
//!
//! It writes below its scratch folder alone, starts no program, signals nobody, looks into no other process, and has no network:
//! a rank of a gang has TCP, and no other rank any. What a kernel is too old for is left out, and said. The rank does this
//! to itself, so that it needs no privilege, and cannot take it back.

use std::{collections::BTreeMap, fmt, path::Path};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// The newest kernel interface that the rules below are written for; older ones enforce what they know.
const LANDLOCK: ABI = ABI::V6;
/// Resetting its own high-water mark of memory is no harm.
const OWN_PEAK: &str = "/proc/self/clear_refs";

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

/// Confines the calling thread and those that it will start, for good.
#[must_use]
pub fn confine(scratch: &Path, network: Network) -> Confinement {
    // Landlock makes system calls that the filter need not know of, so it comes first.
    let files = match files(scratch) {
        Ok(enforced) => enforced,
        Err(error) => Enforced::Not(error.to_string()),
    };
    let calls = filter(network).and_then(|program| seccompiler::apply_filter(&program));
    let calls = calls.map_or_else(|error| Enforced::Not(error.to_string()), |()| Enforced::Wholly);
    Confinement { files, calls }
}

/// What this machine would enforce, tried on a thread that ends with the question.
#[must_use]
pub fn examine(scratch: &Path) -> Confinement {
    let scratch = scratch.to_owned();
    let tried = std::thread::spawn(move || confine(&scratch, Network::None)).join();
    tried.unwrap_or_else(|_| {
        let why = || Enforced::Not("the trial panicked".to_owned());
        Confinement { files: why(), calls: why() }
    })
}

fn files(scratch: &Path) -> Result<Enforced, Box<dyn std::error::Error>> {
    let read = AccessFs::from_read(LANDLOCK) & !AccessFs::Execute;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, read))?
        .add_rule(PathBeneath::new(
            PathFd::new(scratch)?,
            AccessFs::from_all(LANDLOCK) & !AccessFs::Execute,
        ))?;
    if let Ok(own) = PathFd::new(OWN_PEAK) {
        rules = rules.add_rule(PathBeneath::new(own, AccessFs::WriteFile))?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Wholly,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Not("this kernel runs without Landlock".to_owned()),
    })
}

fn filter(network: Network) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(
        libc::SYS_socket,
        match network {
            Network::None => Vec::new(),
            Network::Gang => not_tcp()?,
        },
    );
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture()?)?;
    Ok(filter.try_into()?)
}

/// Rules for sockets that are no TCP: each is one that is refused.
fn not_tcp() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let argument = |at, op, value: i32| {
        SeccompCondition::new(at, SeccompCmpArgLen::Dword, op, u64::from(value.unsigned_abs()))
    };
    let kind = SeccompCmpOp::MaskedEq(0xf);
    Ok(vec![
        SeccompRule::new(vec![
            argument(0, SeccompCmpOp::Ne, libc::AF_INET)?,
            argument(0, SeccompCmpOp::Ne, libc::AF_INET6)?,
        ])?,
        SeccompRule::new(vec![argument(1, kind.clone(), libc::SOCK_DGRAM)?])?,
        SeccompRule::new(vec![argument(1, kind, libc::SOCK_RAW)?])?,
    ])
}

fn architecture() -> Result<TargetArch, seccompiler::Error> {
    Ok(std::env::consts::ARCH.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{Ipv4Addr, TcpListener, UdpSocket},
        os::unix::net::UnixStream,
        process::Command,
        time::Duration,
    };

    use croft_engine::parallel::{Listener, Peer, Roll, Token};

    use super::*;

    /// What a confined thread could still do, by name.
    fn could(network: Network) -> (Confinement, Vec<&'static str>) {
        let dir = tempfile::tempdir().expect("scratch");
        let [scratch, elsewhere] = ["scratch", "elsewhere"].map(|name| dir.path().join(name));
        for folder in [&scratch, &elsewhere] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join("model"), "x").expect("written");
        }
        let trial = std::thread::spawn(move || {
            let confinement = confine(&scratch, network);
            let trials: [(&str, bool); 8] = [
                ("read", fs::read(elsewhere.join("model")).is_ok()),
                ("write in scratch", fs::write(scratch.join("frame"), "x").is_ok()),
                ("write elsewhere", fs::write(elsewhere.join("frame"), "x").is_ok()),
                ("remove elsewhere", fs::remove_file(elsewhere.join("model")).is_ok()),
                ("tcp", TcpListener::bind("127.0.0.1:0").is_ok()),
                ("udp", UdpSocket::bind("127.0.0.1:0").is_ok()),
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
        let (confinement, could) = could(Network::None);
        assert_eq!(confinement.calls, Enforced::Wholly);
        let mut expected = vec!["read", "write in scratch"];
        if matches!(confinement.files, Enforced::Not(_)) {
            // The test is of this machine as well: what is not enforced must be said, and not be half so.
            expected.extend(["write elsewhere", "remove elsewhere"]);
        }
        assert_eq!(could, expected);
    }

    #[test]
    fn a_rank_of_a_gang_has_tcp_and_no_names() {
        let (_, could) = could(Network::Gang);
        assert!(could.contains(&"tcp"), "{could:?}");
        for never in ["udp", "unix", "run a program"] {
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
                let confinement = confine(&scratch, Network::Gang);
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
