//! What a link between two ranks of a gang carries, and what it costs: both ranks in this process, over loopback.
//! `cargo bench -p croft-engine --bench gang_links` prints one row a line, name and number; `benches/gang_links.py` runs it of
//! two builds by turns and writes the table.
#![allow(clippy::print_stdout, reason = "a benchmark's numbers are its output")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use croft_engine::{
    card::card,
    parallel::{Group, Listener, Peer, Roll, Token},
    pipelines::Pipeline,
    request::{Params, Request, Value},
    residency::Residency,
};

/// One activation: 2,048 tokens by 2,048 in float32.
const PART_MIB: usize = 16;
const PARTS: usize = 128;
/// A rank is never further ahead of another, here as in a gang.
const AHEAD: usize = 2;
const SUMS: usize = 100;
const CONNECTED: usize = 20;
const BARRIERS: usize = 5_000;
const STEPS: f64 = 60.0;
/// The kernel counts a process's time in these.
const TICKS_PER_SECOND: f64 = 100.0;

fn pair() -> [Group; 2] {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listeners = [0, 1].map(|_| Listener::bind(host).expect("loopback"));
    let peers: Vec<Peer> =
        listeners.iter().map(|l| Peer { address: l.address().expect("bound"), share: 1 }).collect();
    let mut rank = 0..;
    let joining = listeners.map(|listener| {
        let rank = rank.next().expect("endless");
        let roll = Roll { rank, peers: peers.clone(), token: Token([9; 32]), generation: 1 };
        thread::spawn(move || listener.join(&roll, Duration::from_secs(10)).expect("the other is there"))
    });
    joining.map(|rank| rank.join().expect("joined"))
}

/// Seconds, and seconds of processors, that both ranks together take.
fn took(act: impl Fn(&mut Group) + Clone + Send + 'static) -> (f64, f64) {
    let groups = pair();
    let (began, spent) = (Instant::now(), cpu());
    let running = groups.map(|mut group| {
        let act = act.clone();
        thread::spawn(move || {
            act(&mut group);
            group
        })
    });
    let ended = running.map(|rank| rank.join().expect("no rank is lost"));
    let took = (began.elapsed().as_secs_f64(), cpu() - spent);
    drop(ended);
    took
}

fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name ends").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

fn row(name: &str, value: f64) {
    println!("{name}\t{value:.4}");
}

fn main() {
    let values = (PART_MIB << 20) / 4;
    let gib = (PART_MIB * PARTS) as f64 / 1024.0;

    let (seconds, spent) = took(move |group| {
        let mut part = vec![0.5_f32; values];
        for number in 0..PARTS {
            if group.rank() == 0 {
                if number >= AHEAD {
                    group.take(1, &mut [0.0_f32]).expect("taken");
                }
                group.pass(1, &part).expect("passed");
            } else {
                group.take(0, &mut part).expect("taken");
                group.pass(0, &[1.0_f32]).expect("passed");
            }
        }
        for _ in 0..if group.rank() == 0 { AHEAD } else { 0 } {
            group.take(1, &mut [0.0_f32]).expect("taken");
        }
    });
    row("one way, MiB/s", gib * 1024.0 / seconds);
    row("one way, processor seconds a GiB", spent / gib);

    let (seconds, spent) = took(move |group| {
        let other = 1 - group.rank();
        let mut part = vec![0.5_f32; values];
        for _ in 0..PARTS / 2 {
            group.pass(other, &part).expect("passed");
            group.take(other, &mut part).expect("taken");
        }
    });
    row("both ways at once, MiB/s in all", gib * 1024.0 / seconds);
    row("both ways at once, processor seconds a GiB", spent / gib);

    let (seconds, _) = took(|group| {
        let mut values = vec![0.5_f32; 1 << 20];
        (0..SUMS).for_each(|_| group.all_reduce(&mut values).expect("summed"));
    });
    row("sum of 4 MiB, ms", seconds * 1e3 / SUMS as f64);

    let (seconds, spent) = took(|group| (0..BARRIERS).for_each(|_| group.barrier().expect("both are there")));
    row("wait for each other, µs", seconds * 1e6 / BARRIERS as f64);
    row("wait for each other, processor µs", spent * 1e6 / BARRIERS as f64);

    let began = Instant::now();
    let pairs: Vec<_> = (0..CONNECTED).map(|_| pair()).collect();
    row("connect, ms", began.elapsed().as_secs_f64() * 1e3 / CONNECTED as f64);
    // Each waits for the other's end.
    let ending: Vec<_> =
        pairs.into_iter().flatten().map(|group| thread::spawn(move || drop(group))).collect();
    ending.into_iter().for_each(|rank| rank.join().expect("ended"));

    let model = "builtin://shapes";
    let params = Params::from([("steps".to_owned(), Value::Number(STEPS))]);
    let prompt = "a red circle moving right on a gray background";
    let of = card(model).expect("it is built in");
    let request = Request::from_params(&of, prompt, "", 7, &params).expect("a request");
    let (seconds, spent) = took(move |group| {
        let of = card(model).expect("it is built in");
        let pipeline = Pipeline::load_split(model, of, group.split(), Residency::Resident).expect("it loads");
        pipeline.render_in(&request, None, group, &mut ()).expect("rendered");
    });
    row("step of the built-in model over two ranks, ms", seconds * 1e3 / STEPS);
    row("step of the built-in model over two ranks, processor ms", spent * 1e3 / STEPS);
}
