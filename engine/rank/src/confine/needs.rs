//! What a rank keeps beside reading files: the places that it writes to, and the sockets that it opens. A value, made of the
//! kind of the rank alone.
//!
//! CUDA's driver is not ours, and what it needs was found by others who confine it: device files with their controls; the
//! names of its threads, without which it does not start; and a Unix socket of packets, which it binds and listens on so that
//! other processes can ask for its memory. It is not let connect to any. NCCL hands descriptors to its neighbours by Unix
//! datagrams, keeps buffers in shared memory, and asks for the machine's interfaces. Streams, by which services of a
//! machine are spoken to, are open to nobody.

use std::path::{Path, PathBuf};

use croft_engine::device::Device;
use landlock::{Access, AccessFs, BitFlags};

use super::{DEVICES, LANDLOCK, Network};

/// Resetting its own high-water mark of memory is no harm. Whoever writes to a file of the system opens it as if to empty it.
const OWN_PEAK: &str = "/proc/self/clear_refs";
/// Names of its own threads; what else is written below is a process's own as well.
const OWN_THREADS: &str = "/proc/self/task";
/// Memory that ranks of one machine share.
const SHARED_MEMORY: &str = "/dev/shm";
/// Adapters by which NCCL reaches other machines.
const INFINIBAND: &str = "/dev/infiniband";
/// Of the driver, beside one for each device. Those for its tools are not among them.
const DRIVER: [&str; 2] = ["nvidiactl", "nvidia-uvm"];
/// Under Windows.
const WSL: &str = "dxg";

/// What is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) places: Vec<Place>,
    /// No other socket is opened.
    pub(super) sockets: Vec<Socket>,
    /// System calls beside those that no rank makes.
    pub(super) refused: &'static [libc::c_long],
    /// Whether it speaks to other processes of this machine by sockets without a file.
    pub(super) meets_neighbours: bool,
}

/// A file, or all below a folder, and what may be done there beside reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) may: BitFlags<AccessFs>,
    pub(super) must_be_there: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) family: i32,
    pub(super) kinds: Vec<u64>,
    /// The only one; `None` for any.
    pub(super) protocol: Option<u64>,
}

impl Needs {
    /// Of a rank on `device`, where `/dev` holds files of these names.
    pub(super) fn of(scratch: &Path, network: Network, device: Device, devices: &[String]) -> Self {
        let all = AccessFs::from_all(LANDLOCK) & !AccessFs::Execute;
        let mut needs = Self {
            places: vec![
                Place { path: scratch.to_owned(), may: all, must_be_there: true },
                place(OWN_PEAK, AccessFs::WriteFile | AccessFs::Truncate),
            ],
            sockets: Vec::new(),
            refused: &[],
            meets_neighbours: false,
        };
        if network == Network::Gang {
            needs.sockets.extend([libc::AF_INET, libc::AF_INET6].map(|family| socket(family, &[STREAM])));
        }
        match device {
            Device::Cpu => {}
            Device::Cuda { .. } => needs.add_cuda(network, devices),
        }
        needs
    }

    fn add_cuda(&mut self, network: Network, devices: &[String]) {
        let controlled = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        let mut files: Vec<&String> = devices.iter().filter(|name| is_nvidia(name)).collect();
        files.sort();
        self.places.extend(files.into_iter().map(|name| place(&format!("{DEVICES}/{name}"), controlled)));
        self.places.push(place(OWN_THREADS, AccessFs::WriteFile | AccessFs::Truncate));
        match network {
            // Nobody asks it for memory, and it asks nobody.
            Network::None => {
                self.sockets.push(socket(libc::AF_UNIX, &[PACKETS]));
                self.refused = &[libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4];
            }
            Network::Gang => {
                let kept = AccessFs::ReadFile
                    | AccessFs::WriteFile
                    | AccessFs::MakeReg
                    | AccessFs::RemoveFile
                    | AccessFs::Truncate;
                self.places.push(place(SHARED_MEMORY, kept));
                self.places.push(place(INFINIBAND, controlled));
                self.sockets.push(socket(libc::AF_UNIX, &[DATAGRAMS, PACKETS]));
                let routes = Some(u64::from(libc::NETLINK_ROUTE.unsigned_abs()));
                self.sockets.push(Socket { protocol: routes, ..socket(libc::AF_NETLINK, &[RAW]) });
                self.meets_neighbours = true;
            }
        }
    }
}

const STREAM: u64 = libc::SOCK_STREAM as u64;
const DATAGRAMS: u64 = libc::SOCK_DGRAM as u64;
const RAW: u64 = libc::SOCK_RAW as u64;
const PACKETS: u64 = libc::SOCK_SEQPACKET as u64;

fn place(path: &str, may: impl Into<BitFlags<AccessFs>>) -> Place {
    Place { path: path.into(), may: may.into(), must_be_there: false }
}

fn socket(family: i32, kinds: &[u64]) -> Socket {
    Socket { family, kinds: kinds.to_vec(), protocol: None }
}

/// Whether a file of `/dev` is of the driver or of a device: `nvidia0`.
fn is_nvidia(name: &str) -> bool {
    let number = name
        .strip_prefix("nvidia")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    number || DRIVER.contains(&name) || name == WSL
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUDA: Device = Device::Cuda { ordinal: 0 };

    fn needs(network: Network, device: Device) -> Needs {
        let there =
            ["null", "nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"];
        let there = there.map(str::to_owned);
        Needs::of(Path::new("/scratch"), network, device, &there)
    }

    fn paths(needs: &Needs) -> Vec<&str> {
        needs.places.iter().map(|place| place.path.to_str().expect("text")).collect()
    }

    #[test]
    fn a_rank_on_the_processor_writes_to_its_scratch_and_its_own_mark() {
        for network in [Network::None, Network::Gang] {
            assert_eq!(paths(&needs(network, Device::Cpu)), ["/scratch", "/proc/self/clear_refs"]);
        }
        assert!(needs(Network::None, Device::Cpu).sockets.is_empty());
        let gang = needs(Network::Gang, Device::Cpu);
        assert_eq!(gang.sockets, [libc::AF_INET, libc::AF_INET6].map(|family| socket(family, &[STREAM])));
        assert!(!gang.meets_neighbours && gang.refused.is_empty());
    }

    #[test]
    fn a_rank_on_a_device_has_the_files_of_driver_and_devices_and_no_tools() {
        let alone = needs(Network::None, CUDA);
        let devices = ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"];
        assert_eq!(paths(&alone)[2..6], devices);
        assert_eq!(paths(&alone)[6..], ["/proc/self/task"]);
        assert!(alone.places[2..6].iter().all(|place| {
            place.may == AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev && !place.must_be_there
        }));
        assert_eq!(alone.places[6].may, AccessFs::WriteFile | AccessFs::Truncate);
        assert_eq!(alone.sockets, [socket(libc::AF_UNIX, &[PACKETS])]);
        assert_eq!(alone.refused, [libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4]);
        assert!(!alone.meets_neighbours);
    }

    #[test]
    fn a_gang_of_devices_shares_memory_and_speaks_to_its_neighbours_but_not_by_streams() {
        let gang = needs(Network::Gang, CUDA);
        assert_eq!(paths(&gang)[6..], ["/proc/self/task", "/dev/shm", "/dev/infiniband"]);
        let unix = gang.sockets.iter().find(|socket| socket.family == libc::AF_UNIX).expect("for neighbours");
        assert!(!unix.kinds.contains(&STREAM));
        let netlink = gang.sockets.iter().find(|socket| socket.family == libc::AF_NETLINK).expect("for NCCL");
        assert_eq!(netlink.protocol, Some(0), "routes alone");
        assert!(gang.meets_neighbours && gang.refused.is_empty());
    }
}
