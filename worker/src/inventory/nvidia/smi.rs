//! Asks `nvidia-smi`. It hangs where a driver does, so that it has a deadline, and nothing that it says is fatal.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use super::{Gpu, Links, Refusal, Seen, table};

/// Where it is: on the path, or where Windows puts it.
const PROGRAMS: [&str; 2] = ["nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"];
/// All its answers together. A machine of eight devices without persistence takes seconds to wake them.
const DEADLINE: Duration = Duration::from_secs(10);
/// What it says of 256 devices and their processes is far less.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Of what it says of its trouble.
const SAID_CHARS_MAX: usize = 200;
/// Files that CUDA opens, beside one for each device.
const DRIVER_FILES: [&str; 2] = ["/dev/nvidiactl", "/dev/nvidia-uvm"];
/// The one that takes their place under Windows.
const WSL_FILE: &str = "/dev/dxg";
/// Of PCI devices: NVIDIA's number, and the class of those that show pictures or compute them.
const VENDOR: &str = "0x10de";
const DISPLAYS: &str = "0x03";

/// Why `nvidia-smi` told nothing, or not all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is none.
    Absent,
    /// No answer within so many seconds.
    Silent(u64),
    /// It failed, or said what is no table.
    Said(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no nvidia-smi"),
            Self::Silent(seconds) => write!(f, "nvidia-smi did not answer in {seconds} s"),
            Self::Said(words) => write!(f, "nvidia-smi says: {words}"),
        }
    }
}

impl Trouble {
    /// What somebody can do about it.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let remedy = match self {
            Self::Absent => "install the driver 580 or a newer one, with nvidia-smi",
            Self::Silent(_) => {
                "a device or its driver hangs: see `dmesg | grep -i nvrm`, restart the machine"
            }
            Self::Said(words) if words.contains("version mismatch") => {
                "the driver was updated under the running machine: restart it"
            }
            Self::Said(words) if words.contains("communicate with the NVIDIA driver") => {
                "load the driver (`modprobe nvidia`); after a new kernel install the driver for it"
            }
            Self::Said(words) if words.contains("Insufficient Permissions") => {
                "let this user open /dev/nvidia*: on many systems by the group video or render"
            }
            Self::Said(_) => "see `nvidia-smi` and `dmesg | grep -i nvrm`",
        };
        Refusal::new(self.to_string(), remedy)
    }
}

/// Looks at the NVIDIA devices of this machine, within seconds.
pub async fn look() -> Seen {
    let programs: Vec<PathBuf> = PROGRAMS.iter().map(PathBuf::from).collect();
    let seen = ask_all(&programs, DEADLINE).await;
    let missing = if seen.gpus.is_empty() { Vec::new() } else { missing() };
    Seen { slots: slots(), missing, ..seen }
}

/// NVIDIA devices in this machine's slots.
pub(super) fn slots() -> usize {
    let entries = std::fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten();
    let is = |folder: &Path, file: &str, begins: &str| {
        std::fs::read_to_string(folder.join(file)).is_ok_and(|text| text.starts_with(begins))
    };
    entries.filter(|e| is(&e.path(), "vendor", VENDOR) && is(&e.path(), "class", DISPLAYS)).count()
}

fn missing() -> Vec<String> {
    if Path::new(WSL_FILE).exists() {
        return Vec::new();
    }
    DRIVER_FILES.iter().filter(|file| !Path::new(file).exists()).map(|file| (*file).to_owned()).collect()
}

/// All that the first of `programs` that is there says before the deadline.
pub(super) async fn ask_all(programs: &[PathBuf], deadline: Duration) -> Seen {
    let mut seen = Seen::default();
    let asking = async {
        let mut answer = Err(Trouble::Absent);
        for program in programs {
            answer = devices(program).await;
            if !matches!(answer, Err(Trouble::Absent)) {
                let (gpus, trouble) = answer?;
                seen.gpus = gpus;
                seen.trouble = trouble;
                return details(program, &mut seen).await;
            }
        }
        answer.map(drop)
    };
    match timeout(deadline, asking).await {
        Ok(Ok(())) => {}
        Ok(Err(trouble)) => seen.trouble = seen.trouble.or(Some(trouble)),
        Err(_) => seen.trouble = Some(Trouble::Silent(deadline.as_secs())),
    }
    seen
}

/// The devices, by the fullest question that this driver understands.
async fn devices(program: &Path) -> Result<(Vec<Gpu>, Option<Trouble>), Trouble> {
    let mut refused = None;
    for fields in table::QUESTIONS {
        let query = format!("--query-gpu={}", fields.join(","));
        let answer = ask(program, &[&query, "--format=csv,noheader,nounits"]).await?;
        if answer.text.contains("not a valid field") {
            refused = Some(Trouble::Said(shorten(&answer.text)));
            continue;
        }
        let (gpus, odd) = table::gpus(fields, &answer.text);
        let trouble = match (odd, answer.ended_well) {
            (Some(line), _) => Some(Trouble::Said(shorten(&line))),
            (None, false) => Some(Trouble::Said(shorten(&answer.complaint))),
            (None, true) => None,
        };
        return Ok((gpus, trouble));
    }
    Err(refused.unwrap_or(Trouble::Absent))
}

/// Who computes on them, and what lies between them. Doing without is no trouble.
async fn details(program: &Path, seen: &mut Seen) -> Result<(), Trouble> {
    let query = format!("--query-compute-apps={}", table::PROCESSES);
    let answer = ask(program, &[&query, "--format=csv,noheader,nounits"]).await?;
    for (uuid, process) in table::processes(&answer.text) {
        if let Some(gpu) = seen.gpus.iter_mut().find(|gpu| gpu.uuid == uuid) {
            gpu.processes.push(process);
        }
    }
    if seen.gpus.len() > 1 {
        seen.links = Links::read(&ask(program, &["topo", "-m"]).await?.text);
    }
    Ok(())
}

struct Answer {
    text: String,
    complaint: String,
    ended_well: bool,
}

async fn ask(program: &Path, args: &[&str]) -> Result<Answer, Trouble> {
    let said = |error: io::Error| Trouble::Said(error.to_string());
    let spawned = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // One that is given up is killed, and not waited for: a process in the driver does not hear it.
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Absent),
        Err(error) => return Err(said(error)),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (text, complaint) = tokio::join!(read(stdout), read(stderr));
    let status = child.wait().await.map_err(said)?;
    let complaint = if complaint.trim().is_empty() { status.to_string() } else { complaint };
    Ok(Answer { text, complaint, ended_well: status.success() })
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before it broke is all there is.
        let _ = from.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// On one line, without what a terminal would obey.
fn shorten(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect()
}
