//! Two processes on one NVIDIA device, told apart by their host ids, do over NCCL what ranks do over TCP. Where the machine has
//! no device or no NCCL, the gang must say so, and whose lack it is.
#![cfg(feature = "nccl")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use croft_engine::{
    card::card,
    parallel::{Broken, Fault, Group, Listener, Peer, Roll, Split, Token, nccl},
    pipelines::{Clip, Pipeline},
    place::Place,
    request::{Params, Request, Value},
    residency::Residency,
};

const SOON: Duration = Duration::from_secs(20);
/// Lines of a rank that wait to be looked at.
const LINES: usize = 4096;
/// Whatever a rank is asked, it answers within this.
const SAID: Duration = Duration::from_secs(40);
/// What the survivors of a gang may take to notice.
const FREED_MAX: Duration = Duration::from_secs(5);
/// A step that is waited for three times this long, two seconds at least.
const STEP: Duration = Duration::from_millis(500);

/// Leaves what was measured for `deploy/cuda/check`, whose programs have both features.
#[cfg(feature = "cuda")]
fn row(name: &str, shape: &str, value: f64, unit: &str, bound: &str) {
    croft_engine::cuda::measure::row("nccl", name, shape, (value, unit), Some(bound));
}

#[cfg(not(feature = "cuda"))]
fn row(_: &str, _: &str, _: f64, _: &str, _: &str) {}

/// One rank's process, and what it is told and says, a line at a time.
struct Rank {
    process: Child,
    tell: ChildStdin,
    says: Receiver<String>,
}

impl Rank {
    fn start(rank: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "one_rank_of_two", "--nocapture"])
            .env("CROFT_TEST_RANK", rank.to_string())
            // To NCCL these are two machines, which may share a device.
            .env("NCCL_HOSTID", format!("host-{rank}"))
            .env("NCCL_SOCKET_IFNAME", "lo")
            .env("NCCL_IB_DISABLE", "1")
            .env("NCCL_RAS_ENABLE", "0")
            .env("NCCL_MAX_CTAS", "4")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, mut out) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let (heard, says) = mpsc::sync_channel(LINES);
        // It ends with the process.
        thread::spawn(move || {
            let mut line = String::new();
            while out.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                if heard.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Self { process, tell, says }
    }

    fn tell(&mut self, words: &str) {
        writeln!(self.tell, "{words}").unwrap();
    }

    /// The rest of its next line that begins with `word`.
    fn says(&mut self, word: &str) -> String {
        let mark = format!("@{word} ");
        loop {
            let line = self.says.recv_timeout(SAID).unwrap_or_else(|_| panic!("it did not say '{word}'"));
            if let Some(at) = line.find(&mark) {
                return line[at + mark.len()..].trim_end().to_owned();
            }
            print!("    {}: {line}", self.process.id());
        }
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two ranks that know each other, or why they do not.
fn pair() -> Result<[Rank; 2], String> {
    let mut ranks = [Rank::start(0), Rank::start(1)];
    let addresses: Vec<String> = ranks.iter_mut().map(|rank| rank.says("address")).collect();
    for rank in &mut ranks {
        rank.tell(&addresses.join(" "));
    }
    let joined: Vec<String> = ranks.iter_mut().map(|rank| rank.says("joined")).collect();
    match joined.iter().find(|word| *word != "yes") {
        None => Ok(ranks),
        Some(trouble) => Err(trouble.clone()),
    }
}

/// The pair, unless this machine has no device for it: then what they said is checked instead.
fn pair_or_said() -> Option<[Rank; 2]> {
    match pair() {
        Ok(ranks) => {
            println!("NCCL {}", nccl::version().unwrap());
            Some(ranks)
        }
        Err(trouble) => {
            println!("no gang over NCCL here: {trouble}");
            let lacks = ["libnccl.so", "libcuda.so", "CUDA says", "NCCL says"];
            assert!(lacks.iter().any(|lack| trouble.contains(lack)), "{trouble}");
            assert!(trouble.starts_with("rank "), "{trouble}");
            None
        }
    }
}

#[test]
fn sums_and_clips_over_nccl_are_those_of_one_rank() {
    let Some(mut ranks) = pair_or_said() else { return };
    for rank in &mut ranks {
        rank.tell("work");
    }
    for rank in &mut ranks {
        let off: f32 = rank.says("sums").parse().unwrap();
        row("sums of two ranks", "100003 f32", off.into(), "off", "<= 1e-6");
        assert!(off <= 1e-6, "{off}");
    }
    let shades: f32 = ranks[0].says("clip").parse().unwrap();
    println!("farthest value of two ranks' clip from one's: {shades:.3}/255");
    row("clip of two ranks beside one's", "builtin 6 steps", shades.into(), "/255", "<= 1");
    assert!(shades <= 1.0, "{shades}");
}

#[test]
fn a_rank_that_is_killed_or_stopped_frees_the_other_and_is_named() {
    for signal in ["-KILL", "-STOP"] {
        let Some(mut ranks) = pair_or_said() else { return };
        // Neither sums alone.
        for rank in &mut ranks {
            rank.tell("sum for ever");
        }
        for rank in &mut ranks {
            rank.says("summed");
        }
        let since = Instant::now();
        ranks[1].signal(signal);
        let broken = ranks[0].says("broken");
        let freed = since.elapsed();
        println!("{signal}: freed after {freed:.2?}: {broken}");
        row(&format!("freed after {signal}"), "", freed.as_secs_f64(), "s", "<= 5");
        assert!(broken.starts_with("rank 1 "), "{broken}");
        assert!(freed < FREED_MAX, "{freed:?}");
    }
}

/// Not a test by itself: what the processes of the others do.
#[test]
#[ignore = "a process of the other tests"]
fn one_rank_of_two() {
    let Ok(rank) = std::env::var("CROFT_TEST_RANK") else { return };
    let rank: usize = rank.parse().unwrap();
    let listener = Listener::bind(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
    println!("@address {}", listener.address().unwrap());
    let peers = hear().split(' ').map(|at| Peer { address: at.parse().unwrap(), share: 1 }).collect();
    let roll = Roll { rank, peers, token: Token([5; 32]), generation: 1 };
    let mut group = match listener.join(&roll, SOON).and_then(|group| group.over_nccl(0)) {
        Ok(group) => group,
        Err(broken) => {
            println!("@joined {broken}");
            return;
        }
    };
    println!("@joined yes");
    group.set_wait(SOON);
    if hear() == "work" { work(&mut group) } else { sum_for_ever(&mut group) }
}

fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn work(group: &mut Group) {
    let mut values: Vec<f32> = (0..100_003).map(|at| (at % 97) as f32 * (group.rank() + 1) as f32).collect();
    group.all_reduce(&mut values).unwrap();
    let mut all = [0.0_f32; 6];
    let place = |rank: usize| [0..2, 2..6][rank].clone();
    all[place(group.rank())].fill(group.rank() as f32 + 1.0);
    group.all_gather(&mut all, place).unwrap();
    assert_eq!(all, [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    let mut passed = [7.0_f32; 3];
    if group.rank() == 0 { group.pass(1, &[1.0_f32, 2.0, 3.0]) } else { group.take(0, &mut passed) }.unwrap();
    assert!(group.rank() == 0 || passed == [1.0, 2.0, 3.0]);
    let off = values.iter().enumerate().map(|(at, value)| (value - (at % 97) as f32 * 3.0).abs());
    println!("@sums {}", off.fold(0.0, f32::max));

    let model = "builtin://shapes";
    let params = Params::from([("steps".to_owned(), Value::Number(6.0))]);
    let prompt = "a red circle moving right on a gray background";
    let request = Request::from_params(&card(model).unwrap(), prompt, "", 7, &params).unwrap();
    let load = |split: &Split| {
        Pipeline::load_on(&here(), model, card(model).unwrap(), split, Residency::Resident).unwrap()
    };
    let part = load(group.split());
    let ours = part.render_in(&request, None, group, &mut ()).unwrap();
    if group.rank() == 0 {
        let alone = load(&Split::whole()).render(&request, &mut ()).unwrap();
        println!("@clip {}", shades(&ours, &alone));
    }
}

/// The device, where the program renders on one; in f32, for bf16 rounds the parts of a sum.
#[cfg(feature = "cuda")]
fn here() -> Place {
    Place::Cuda(croft_engine::cuda::Gpu::open(0, croft_engine::cuda::Precision::F32).unwrap())
}

#[cfg(not(feature = "cuda"))]
fn here() -> Place {
    Place::Cpu
}

fn shades(ours: &Clip, theirs: &Clip) -> f32 {
    assert_eq!(ours.frames.len(), theirs.frames.len());
    let values = ours.frames.iter().flatten().zip(theirs.frames.iter().flatten());
    values.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) * 255.0
}

fn sum_for_ever(group: &mut Group) {
    let mut values = vec![1.0_f32; 1 << 20];
    group.all_reduce(&mut values).unwrap();
    group.measured_step(STEP);
    println!("@summed once");
    loop {
        values.fill(1.0);
        if let Err(broken) = group.all_reduce(&mut values) {
            let Broken { fault, .. } = &broken;
            assert!(!matches!(fault, Fault::Aborted), "{broken}");
            println!("@broken {broken}");
            return;
        }
    }
}
