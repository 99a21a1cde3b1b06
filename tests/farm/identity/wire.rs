//! What can be reached of a farm that renders: one listener, and it speaks TLS.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{Studio, until};
use crate::house::{children, ends, shapes};

/// Ports that a process listens on at addresses other than loopback.
fn listens(pid: u32) -> BTreeSet<u16> {
    let inode = |link: &str| link.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned);
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| inode(fs::read_link(entry.path()).ok()?.to_str()?))
        .collect();
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = words[1].rsplit_once(':').expect("ADDRESS:PORT");
            // 127.0.0.0/8 and ::1, in the order of bytes in which the kernel prints them.
            let is_loopback = (address.len() == 8 && address.ends_with("7F"))
                || address == "00000000000000000000000001000000";
            // 0A is LISTEN.
            if words[3] == "0A" && sockets.contains(words[9]) && !is_loopback {
                ports.insert(u16::from_str_radix(port, 16).expect("a port"));
            }
        }
    }
    ports
}

#[test]
fn a_farm_that_renders_has_one_listener_and_it_speaks_tls() {
    let mut studio = Studio::open_at("0.0.0.0:0");
    studio.worker("one");
    ends(studio.by("sam", &["submit"]).arg(shapes(studio.dir.path(), "clips", 1, 500)), 0);
    let worker = studio.house.process("one").0.id();
    until("it renders", || studio.json(&["tasks", "clips"])["items"][0]["attempts"][0]["stage"] == "DENOISE");
    let rank = *children(worker).first().expect("a rank");
    let port: u16 = studio.at().rsplit_once(':').expect("a port").1.parse().expect("a port");
    assert_eq!(listens(studio.house.pid()), BTreeSet::from([port]));
    assert_eq!(listens(worker), BTreeSet::new(), "workers listen on nothing");
    assert_eq!(listens(rank), BTreeSet::new(), "nor does a rank alone");

    // Whoever speaks HTTP/2 in plaintext hears an alert or nothing.
    let mut tcp = TcpStream::connect(studio.at()).expect("it listens");
    tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("a socket");
    let mut heard = Vec::new();
    // A reset is an end as well.
    let _ = tcp.read_to_end(&mut heard);
    assert!(heard.is_empty() || heard[0] == 0x15, "{heard:?}");
}
