//! What holds on every wire, and what happens when a rank does not keep up.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use half::bf16;

use super::*;

mod wire;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SOON: Duration = Duration::from_secs(20);
const TOKEN: Token = Token([7; 32]);

/// Runs each rank in a thread of its own.
fn run<T: Send + 'static>(groups: Vec<Group>, act: fn(Group) -> T) -> Vec<T> {
    let running: Vec<_> = groups.into_iter().map(|group| thread::spawn(move || act(group))).collect();
    running.into_iter().map(|rank| rank.join().unwrap()).collect()
}

fn rolls(listeners: &[Listener]) -> Vec<Roll> {
    let peers: Vec<Peer> =
        listeners.iter().map(|l| Peer { address: l.address().unwrap(), share: 1 }).collect();
    let roll = |rank| Roll { rank, peers: peers.clone(), token: TOKEN, generation: 3 };
    (0..listeners.len()).map(roll).collect()
}

fn tcp(ranks: usize) -> Vec<Group> {
    let listeners: Vec<Listener> = (0..ranks).map(|_| Listener::bind(LOOPBACK).unwrap()).collect();
    let rolls = rolls(&listeners);
    let joining = listeners.into_iter().zip(rolls);
    let joining: Vec<_> =
        joining.map(|(listener, roll)| thread::spawn(move || listener.join(&roll, SOON))).collect();
    joining.into_iter().map(|rank| rank.join().unwrap().unwrap()).collect()
}

fn wires(ranks: usize) -> [Vec<Group>; 2] {
    [Group::threads(ranks), tcp(ranks)]
}

/// Numbers whose sum depends on the order in which they are taken.
fn noise(rank: usize) -> Vec<f32> {
    crate::noise::Generator::new(rank as u64).normal(4 << 10)
}

#[test]
fn a_sum_is_the_same_bytes_on_every_rank_and_wire_and_each_time() {
    for ranks in [2, 3, 4, 8] {
        let mut expected = vec![0.0_f32; 4 << 10];
        for rank in 0..ranks {
            expected.iter_mut().zip(noise(rank)).for_each(|(sum, value)| *sum += value);
        }
        for groups in wires(ranks).into_iter().chain(wires(ranks)) {
            let sums = run(groups, |mut group| {
                let mut values = noise(group.rank());
                group.all_reduce(&mut values).unwrap();
                values
            });
            assert!(sums.iter().all(|sum| *sum == expected), "{ranks} ranks");
        }
    }
}

#[test]
fn halves_are_summed_whole() {
    // Each step of a sum in bf16 would lose the ones.
    for groups in wires(4) {
        let sums = run(groups, |mut group| {
            let mut values = vec![bf16::from_f32(if group.rank() == 0 { 256.0 } else { 1.0 }); 5];
            group.all_reduce(&mut values).unwrap();
            values
        });
        assert!(sums.iter().flatten().all(|sum| sum.to_f32() == 260.0), "{sums:?}");
    }
}

#[test]
fn all_ranks_get_what_each_has_and_what_the_first_says() {
    for groups in wires(3) {
        let seen = run(groups, |mut group| {
            let mut all = vec![0.0_f32; 6];
            let place = |rank: usize| [0..1, 1..3, 3..6][rank].clone();
            all[place(group.rank())].fill(group.rank() as f32 + 1.0);
            group.all_gather(&mut all, place).unwrap();
            let mut said = if group.rank() == 0 { b"go".to_vec() } else { Vec::new() };
            group.broadcast(&mut said).unwrap();
            group.barrier().unwrap();
            (all, said)
        });
        assert!(seen.iter().all(|seen| *seen == (vec![1.0, 2.0, 2.0, 3.0, 3.0, 3.0], b"go".to_vec())));
    }
}

#[test]
fn more_than_the_system_buffers_goes_both_ways_at_once() {
    let sums = run(tcp(2), |mut group| {
        let mut values = vec![1.0_f32; 8 << 20];
        group.all_reduce(&mut values).unwrap();
        values.iter().all(|value| *value == 2.0)
    });
    assert_eq!(sums, [true, true]);
}

#[test]
fn a_rank_that_ends_is_named_at_once() {
    for mut groups in wires(3) {
        let gone = groups.pop().unwrap();
        drop(gone);
        let began = Instant::now();
        let broken = run(groups, |mut group| group.barrier().unwrap_err());
        assert!(began.elapsed() < SOON);
        // The first to see it ends its own part of the gang, which the other may see first.
        assert!(broken.iter().any(|broken| broken.rank == 2), "{broken:?}");
        assert!(broken.iter().all(|broken| matches!(broken.fault, Fault::Lost(_))), "{broken:?}");
    }
}

#[test]
fn a_rank_that_hangs_is_late() {
    for mut groups in wires(2) {
        let hangs = groups.pop().unwrap();
        let broken = run(groups, |mut group| {
            group.set_wait(Duration::from_millis(50));
            group.barrier().unwrap_err()
        });
        assert_eq!(broken, [Broken { rank: 1, fault: Fault::Late(Duration::from_millis(50)) }]);
        drop(hangs);
    }
}

/// Longer than a rank is waited for here, which is longer than two signs that it waits.
const HELD: Duration = Duration::from_millis(1_800);

#[test]
fn a_rank_that_waits_for_its_turn_or_for_others_is_not_late() {
    let mut groups = tcp(3);
    let turns = Turns::default();
    let companion = Group::solo().in_turns(&turns, Box::new(|| ()));
    let last = groups.pop().unwrap();
    // The last waits for its turn, the second for the last, the first for the second.
    let waits = |mut group: Group, act: fn(&mut Group)| {
        thread::spawn(move || {
            group.set_wait(Duration::from_millis(1_200));
            act(&mut group);
            group.idle()
        })
    };
    let second = waits(groups.pop().unwrap(), |group| {
        group.take(2, &mut [0.0_f32]).unwrap();
        group.pass(0, &[2.0_f32]).unwrap();
    });
    let first = waits(groups.pop().unwrap(), |group| group.take(1, &mut [0.0_f32]).unwrap());
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (also, hears) = (turns.clone(), std::sync::Arc::clone(&heard));
    let last = thread::spawn(move || {
        let told = Box::new(move || {
            hears.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        let mut last = last.in_turns(&also, told);
        last.pass(1, &[1.0_f32]).unwrap();
        last.idle()
    });
    thread::sleep(HELD);
    drop(companion);
    let idle = [last, second, first].map(|rank| rank.join().unwrap());
    assert!(idle.iter().all(|idle| *idle > Duration::from_millis(900)), "no measure of a step: {idle:?}");
    assert!(heard.load(std::sync::atomic::Ordering::Relaxed) >= 2, "whoever watches is told");
}

#[test]
fn a_rank_that_computes_for_too_long_is_late_though_others_wait() {
    let mut groups = tcp(3);
    let computes = groups.pop().unwrap();
    let broken = run(groups, |mut group| {
        group.set_wait(Duration::from_millis(1_200));
        let from = group.rank() + 1;
        group.take(from, &mut [0.0_f32]).unwrap_err()
    });
    assert_eq!(broken[1], Broken { rank: 2, fault: Fault::Late(Duration::from_millis(1_200)) });
    // The first waited for one who only waited, until that one gave up.
    assert!(matches!(broken[0], Broken { rank: 1, fault: Fault::Lost(_) }), "{broken:?}");
    drop(computes);
}

#[test]
fn an_abort_frees_whoever_waits() {
    for groups in wires(2) {
        let aborts: Vec<Abort> = groups.iter().map(Group::abort).collect();
        let mut groups = groups.into_iter();
        let (mut waits, idle) = (groups.next().unwrap(), groups.next().unwrap());
        let began = Instant::now();
        let waiting = thread::spawn(move || waits.barrier().unwrap_err());
        aborts[0].abort();
        let broken = waiting.join().unwrap();
        assert!(matches!(broken.fault, Fault::Aborted | Fault::Lost(_)), "{broken:?}");
        assert!(began.elapsed() < SOON);
        drop(idle);
    }
}

#[test]
fn ranks_that_do_different_things_are_out_of_step() {
    for groups in wires(2) {
        let broken = run(groups, |mut group| {
            let mut values = vec![0.0_f32; 4 + 4 * group.rank()];
            group.all_reduce(&mut values).unwrap_err()
        });
        assert!(broken.iter().any(|b| matches!(b.fault, Fault::OutOfStep(_))), "{broken:?}");
    }
}

#[test]
fn strangers_and_ranks_of_another_generation_are_not_listened_to() {
    let listeners: Vec<Listener> = (0..2).map(|_| Listener::bind(LOOPBACK).unwrap()).collect();
    let [first, second] = <[Roll; 2]>::try_from(rolls(&listeners)).unwrap();
    let [host, guest] = <[Listener; 2]>::try_from(listeners).unwrap();
    let at = first.peers[0].address;
    let joining = thread::spawn(move || host.join(&first, SOON));
    TcpStream::connect(at).unwrap().write_all(&[1; 100]).unwrap();
    for (token, generation) in [(Token([8; 32]), 3), (TOKEN, 2)] {
        let stale = Roll { token, generation, ..second.clone() };
        let refused = Listener::bind(LOOPBACK).unwrap().join(&stale, SOON).unwrap_err();
        assert!(matches!(refused, Broken { rank: 0, fault: Fault::Lost(_) }), "{refused:?}");
    }
    let groups = vec![guest.join(&second, SOON).unwrap(), joining.join().unwrap().unwrap()];
    run(groups, |mut group| group.barrier().unwrap());
}

#[test]
fn a_rank_that_never_comes_is_named() {
    let listeners: Vec<Listener> = (0..2).map(|_| Listener::bind(LOOPBACK).unwrap()).collect();
    let rolls = rolls(&listeners);
    let wait = Duration::from_millis(100);
    for (listener, roll) in listeners.into_iter().zip(&rolls) {
        let missing = listener.join(roll, wait).unwrap_err();
        assert_eq!(missing.rank, 1 - roll.rank, "{missing}");
    }
}
