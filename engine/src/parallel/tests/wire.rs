//! What somebody on the way between two ranks sees and can do, and somebody who only knows where a rank listens.

use std::{
    io::Read,
    net::{Shutdown, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use super::*;

/// Stands between a rank and the one it dials.
struct Tap {
    at: SocketAddr,
    /// What passed, in both directions.
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// `meddle` gets what comes for the one that is dialled, and from which byte on; none of it passes once it says no.
    fn new(to: SocketAddr, mut meddle: impl FnMut(usize, &mut [u8]) -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let (at, heard) = (listener.local_addr().unwrap(), Arc::default());
        let hears = Arc::clone(&heard);
        thread::spawn(move || {
            let near = listener.accept().unwrap().0;
            let far = TcpStream::connect(to).unwrap();
            let back = (far.try_clone().unwrap(), near.try_clone().unwrap(), Arc::clone(&hears));
            thread::spawn(move || hand_on(back.0, back.1, &back.2, |_, _| true));
            hand_on(near, far, &hears, move |from, bytes| meddle(from, bytes));
        });
        Self { at, heard }
    }
}

fn hand_on(
    mut from: TcpStream,
    mut to: TcpStream,
    heard: &Mutex<Vec<u8>>,
    mut meddle: impl FnMut(usize, &mut [u8]) -> bool,
) {
    let (mut bytes, mut passed) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        heard.lock().unwrap().extend(&bytes[..read]);
        if !meddle(passed, &mut bytes[..read]) {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
        passed += read;
        if to.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Two ranks, of which the second dials the first through a tap.
fn tapped(meddle: impl FnMut(usize, &mut [u8]) -> bool + Send + 'static) -> (Vec<Group>, Tap) {
    let listeners: Vec<Listener> = (0..2).map(|_| Listener::bind(LOOPBACK).unwrap()).collect();
    let [first, mut second] = <[Roll; 2]>::try_from(rolls(&listeners)).unwrap();
    let tap = Tap::new(first.peers[0].address, meddle);
    second.peers[0].address = tap.at;
    let joining: Vec<_> = listeners
        .into_iter()
        .zip([first, second])
        .map(|(listener, roll)| thread::spawn(move || listener.join(&roll, SOON)))
        .collect();
    (joining.into_iter().map(|rank| rank.join().unwrap().unwrap()).collect(), tap)
}

fn holds(heard: &[u8], secret: &[u8]) -> bool {
    heard.windows(secret.len()).any(|seen| seen == secret)
}

#[test]
fn nobody_on_the_way_sees_what_ranks_say() {
    const KNOWN: &[u8; 8] = b"twilight";
    let (groups, tap) = tapped(|_, _| true);
    run(groups, |mut group| {
        let known = f32::from_le_bytes(KNOWN[..4].try_into().unwrap());
        let also = f32::from_le_bytes(KNOWN[4..].try_into().unwrap());
        let other = 1 - group.rank();
        group.pass(other, &[known, also].repeat(50_000)).unwrap();
        let mut taken = vec![0.0_f32; 100_000];
        group.take(other, &mut taken).unwrap();
        assert_eq!(taken[99_998..], [known, also], "it came through");
    });
    let heard = tap.heard.lock().unwrap();
    assert!(heard.len() > 800_000, "it was listened to in both directions");
    assert!(!holds(&heard, KNOWN) && !holds(&heard, &TOKEN.0));
    // Of a number that a frame begins with, and the length of the part, nothing is left either.
    assert!(!holds(&heard, &400_000_u64.to_le_bytes()));
}

#[test]
fn what_is_changed_on_the_way_breaks_the_gang_and_is_no_wrong_number() {
    // Into the first part, into a later one, and into the last byte of a record or the first of another.
    for place in [5_000_usize, 100_000, 150_001, 777_777] {
        let (groups, _tap) = tapped(move |from, bytes| {
            if let Some(byte) = place.checked_sub(from).and_then(|at| bytes.get_mut(at)) {
                *byte ^= 0x10;
            }
            true
        });
        let broken = run(groups, |mut group| {
            for _ in 0..100 {
                let mut values = vec![1.0_f32; 50_000];
                if let Err(broken) = group.all_reduce(&mut values) {
                    return broken;
                }
                assert!(values.iter().all(|value| *value == 2.0), "a wrong number");
            }
            panic!("it was not seen");
        });
        assert!(broken.iter().all(|broken| matches!(broken.fault, Fault::Lost(_))), "{broken:?}");
    }
}

#[test]
fn a_connection_that_is_cut_within_a_part_loses_the_rank() {
    let (groups, _tap) = tapped(|from, bytes| from + bytes.len() < 300_000);
    let began = Instant::now();
    let broken = run(groups, |mut group| {
        let other = 1 - group.rank();
        group.pass(other, &vec![1.0_f32; 500_000]).unwrap();
        let taken = group.take(other, &mut vec![0.0_f32; 500_000]);
        taken.and_then(|()| group.take(other, &mut [0.0_f32])).unwrap_err()
    });
    assert!(broken.iter().all(|broken| matches!(broken.fault, Fault::Lost(_))), "{broken:?}");
    assert!(began.elapsed() < SOON);
}

#[test]
fn what_was_said_before_the_end_is_taken_to_the_end() {
    let (mut groups, _tap) = tapped(|_, _| true);
    let mut stays = groups.pop().unwrap();
    let ends = thread::spawn(move || {
        let mut ends = groups.pop().unwrap();
        (0..3).for_each(|_| ends.pass(1, &vec![1.0_f32; 1 << 20]).unwrap());
        ends.finish();
        ends
    });
    let ends = ends.join().unwrap();
    for _ in 0..3 {
        let mut values = vec![0.0_f32; 1 << 20];
        stays.take(0, &mut values).unwrap();
        assert!(values.iter().all(|value| *value == 1.0));
    }
    let over = stays.take(0, &mut [0.0_f32]).unwrap_err();
    assert!(matches!(over, Broken { rank: 0, fault: Fault::Lost(_) }), "{over}");
    drop(ends);
}

/// Each of them may hold a rank up for two seconds; whoever speaks rubbish, for none.
#[test]
fn whoever_scans_a_rank_holds_it_up_for_no_longer_than_a_hello_may_take() {
    let listeners: Vec<Listener> = (0..2).map(|_| Listener::bind(LOOPBACK).unwrap()).collect();
    let [first, second] = <[Roll; 2]>::try_from(rolls(&listeners)).unwrap();
    let [host, guest] = <[Listener; 2]>::try_from(listeners).unwrap();
    let at = first.peers[0].address;
    let silent = TcpStream::connect(at).unwrap();
    let mut trickles = TcpStream::connect(at).unwrap();
    for rubbish in [&[1; 100][..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 0, 4, 1, 0, 0, 0]] {
        TcpStream::connect(at).unwrap().write_all(rubbish).unwrap();
    }
    let trickling = thread::spawn(move || {
        // The beginning of a handshake of 16 KiB, whose end never comes.
        let mut said = trickles.write_all(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]);
        while said.is_ok() {
            thread::sleep(Duration::from_millis(50));
            said = trickles.write_all(&[0]);
        }
    });
    let began = Instant::now();
    let joining = thread::spawn(move || host.join(&first, SOON));
    let groups = vec![guest.join(&second, SOON).unwrap(), joining.join().unwrap().unwrap()];
    let took = began.elapsed();
    run(groups, |mut group| group.barrier().unwrap());
    assert!(took < SOON / 2, "{took:?}");
    trickling.join().unwrap();
    drop(silent);
}
