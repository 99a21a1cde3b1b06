//! What `nvidia-smi` says on machines of all sorts, from `fixtures/`; and one that says nothing.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use super::*;

const MIB: u64 = 1 << 20;

/// The devices of a table that was asked for by the fullest question.
fn gpus(text: &str) -> Vec<Gpu> {
    let (gpus, odd) = table::gpus(table::QUESTIONS[0], text);
    assert_eq!(odd, None);
    gpus
}

fn one(text: &str) -> Gpu {
    let mut gpus = gpus(text);
    assert_eq!(gpus.len(), 1);
    gpus.remove(0)
}

/// A machine with a program that answers by cases of its arguments.
async fn machine(cases: &str) -> Seen {
    let dir = tempfile::tempdir().expect("scratch");
    let program = dir.path().join("nvidia-smi");
    std::fs::write(&program, format!("#!/bin/sh\ncase \"$*\" in\n{cases}\nesac\n")).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("run by anybody");
    smi::ask_all(&[PathBuf::from("/no/such/nvidia-smi"), program], Duration::from_secs(5)).await
}

fn fixture(name: &str) -> String {
    format!("{}/src/inventory/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_device_alone_is_offered_nearly_whole() {
    let h100 = one(include_str!("../fixtures/h100.csv"));
    assert_eq!(h100.refused(), None);
    assert_eq!((h100.compute, h100.architecture()), (Some((9, 0)), "Hopper"));
    assert_eq!((h100.name.as_str(), h100.driver.as_str()), ("NVIDIA H100 80GB HBM3", "580.82.07"));
    assert_eq!(h100.offered_bytes(), (81_559 - 623 - 256) * MIB);
    assert_eq!((h100.temperature_c, h100.lost_bits, h100.pcie), (Some(31), Some(0), Some((5, 16))));
}

#[test]
fn what_a_device_really_said_is_read() {
    let h200 = one(include_str!("../fixtures/h200.csv"));
    assert_eq!(h200.refused(), None);
    assert_eq!((h200.name.as_str(), h200.driver.as_str()), ("NVIDIA H200", "580.159.04"));
    assert_eq!(h200.offered_bytes(), (143_771 - 616 - 256) * MIB);
    // Its matrix is underlined, and has nobody else in it.
    let links = Links::read(include_str!("../fixtures/h200.topo.txt"));
    assert_eq!(links.between(&[&h200, &Gpu { index: 1, ..Gpu::default() }]), None);
}

#[tokio::test]
async fn what_others_hold_is_not_offered_and_they_are_named() {
    let seen = machine(&format!(
        "*query-gpu*) cat '{}' ;;\n*compute-apps*) cat '{}' ;;\n*topo*) cat '{}' ;;",
        fixture("rtx4090x2.csv"),
        fixture("rtx4090x2.apps.csv"),
        fixture("rtx4090x2.topo.txt")
    ))
    .await;
    assert_eq!(seen.trouble, None);
    let [busy, shown] = &seen.gpus[..] else { panic!("{seen:?}") };
    assert_eq!(busy.offered_bytes(), (24_564 - 422 - 11_320 - 256) * MIB);
    assert_eq!(busy.held_by(), "houdini, a (4711) 10.4 GiB, a process (52) 0.6 GiB");
    assert_eq!(shown.offered_bytes(), (24_564 - 422 - 1_198 - 256) * MIB);
    assert_eq!(shown.held_by(), "the desktop");
    assert_eq!((busy.refused(), shown.refused()), (None, None));
    assert_eq!((busy.lost_bits, busy.is_split), (None, false));
    assert_eq!(seen.links.worst(&[busy, shown]), Some(Wire::Sockets));
    let link = seen.links.between(&[busy, shown]).expect("told");
    assert_eq!((link.name.as_str(), link.bytes_per_s), ("PCIe 4, two sockets", 6_000_000_000));
}

#[test]
fn ranks_of_a_worker_before_are_known_by_their_program() {
    let process = Process { pid: 1, name: "/usr/bin/croft".to_owned(), memory_bytes: None };
    let seen = Seen { gpus: vec![Gpu { processes: vec![process], ..Gpu::default() }], ..Seen::default() };
    assert!(seen.is_held_by(std::path::Path::new("/opt/croft")));
    assert!(!seen.is_held_by(std::path::Path::new("/opt/blender")));
    assert!(!Seen::default().is_held_by(std::path::Path::new("/opt/croft")));
}

#[test]
fn the_worst_wire_of_a_gang_counts() {
    let links = Links::read(include_str!("../fixtures/a100x3.topo.txt"));
    let gpu = |index| Gpu { index, ..Gpu::default() };
    let [a, b, c] = [0, 1, 2].map(gpu);
    assert_eq!(links.worst(&[&a, &b]), Some(Wire::Nvlink(12)));
    assert_eq!(links.worst(&[&a, &b, &c]), Some(Wire::Nvlink(4)));
    assert_eq!(links.between(&[&a, &b]).map(|link| link.bytes_per_s), Some(240_000_000_000));
    assert_eq!(links.between(&[&a]), None);
    assert_eq!(links.worst(&[&a, &gpu(7)]), None, "of one that is not in the matrix nothing is known");
    assert_eq!(Links::read("no matrix"), Links::default());
}

#[test]
fn what_ranks_cannot_use_is_refused_with_a_reason_and_a_remedy() {
    let usable = one(include_str!("../fixtures/h100.csv"));
    let held = Gpu { used_bytes: 80_000 * MIB, ..usable.clone() };
    let busy = Gpu {
        mode: ComputeMode::OneProcess,
        processes: vec![Process { pid: 7, name: "python".to_owned(), memory_bytes: Some(MIB) }],
        ..usable.clone()
    };
    let cases = [
        (one(include_str!("../fixtures/a100_mig.csv")), "cut into instances", "-mig 0"),
        (one(include_str!("../fixtures/gtx1080.csv")), "compute capability is 6.1", "Ampere"),
        (one(include_str!("../fixtures/sick.csv")), "GPU requires reset", "--gpu-reset -i 0"),
        (Gpu { driver: "550.54.14".to_owned(), ..usable.clone() }, "CUDA 13 needs 580", "install the driver"),
        (Gpu { compute: None, ..usable.clone() }, "does not say what it computes", "install the driver"),
        (Gpu { mode: ComputeMode::Nobody, ..usable.clone() }, "lets nobody", "-c DEFAULT"),
        (busy, "has one: python (7)", "end that process"),
        (held, "others hold 78.1 GiB of its 79.6 GiB", "end what holds it"),
    ];
    for (gpu, why, remedy) in cases {
        let refusal = gpu.refused().unwrap_or_else(|| panic!("{why}: {gpu:?}"));
        assert!(refusal.why.contains(why), "{refusal:?}");
        assert!(refusal.remedy.contains(remedy), "{refusal:?}");
    }
    assert_eq!(Gpu { mode: ComputeMode::OneProcess, ..usable }.refused(), None);
}

#[test]
fn a_device_that_shares_the_machines_memory_is_trusted() {
    let gb10 = one(include_str!("../fixtures/gb10.csv"));
    assert_eq!((gb10.memory_bytes, gb10.offered_bytes(), gb10.refused()), (None, 0, None));
    assert_eq!((gb10.sick, gb10.pcie), (None, None));
}

#[test]
fn lines_that_are_no_devices_are_told_and_the_others_stay() {
    let text = String::from_utf8_lossy(include_bytes!("../fixtures/garbage.txt")).into_owned();
    let (gpus, odd) = table::gpus(table::QUESTIONS[0], &(text + include_str!("../fixtures/h100.csv")));
    assert_eq!((gpus.len(), odd.as_deref()), (1, Some("Segmentation fault")));
    assert!(table::processes("garbage\n,\n,,\n").is_empty());
}

#[tokio::test]
async fn a_driver_in_trouble_is_told_with_a_remedy() {
    let cases = [
        (
            format!("*) cat '{}'; exit 9 ;;", fixture("no_driver.txt")),
            "couldn't communicate",
            "modprobe nvidia",
        ),
        (format!("*) cat '{}'; exit 18 ;;", fixture("mismatch.txt")), "version mismatch", "restart it"),
        ("*) echo 'No devices were found'; exit 6 ;;".to_owned(), "No devices were found", "dmesg"),
        ("*) echo oops >&2; exit 1 ;;".to_owned(), "oops", "dmesg"),
        ("*) kill -9 $$ ;;".to_owned(), "signal", "dmesg"),
    ];
    for (program, why, remedy) in cases {
        let seen = machine(&program).await;
        let refusal = seen.trouble.as_ref().unwrap_or_else(|| panic!("{why}")).refusal();
        assert!(seen.gpus.is_empty() && refusal.why.contains(why), "{refusal:?}");
        assert!(refusal.remedy.contains(remedy), "{refusal:?}");
    }
}

#[tokio::test]
async fn one_that_hangs_is_given_up_and_one_that_is_not_there_is_no_trouble_to_ask() {
    let dir = tempfile::tempdir().expect("scratch");
    let program = dir.path().join("nvidia-smi");
    std::fs::write(&program, "#!/bin/sh\nsleep 600\n").expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("run by anybody");
    let seen = smi::ask_all(&[program], Duration::from_millis(200)).await;
    assert_eq!(seen.trouble, Some(Trouble::Silent(0)));
    let seen = smi::ask_all(&[PathBuf::from("/no/such/nvidia-smi")], Duration::from_secs(5)).await;
    assert_eq!(seen, Seen { trouble: Some(Trouble::Absent), ..Seen::default() });
}

#[tokio::test]
async fn an_older_driver_is_asked_less() {
    let seen = machine(&format!(
        "*memory.reserved*|*compute_cap*) cat '{}'; exit 2 ;;\n*query-gpu*) echo '0, GPU-1-2, Tesla V100, 470.256.02, 16160, 4, \
         30, 00000000:00:1E.0' ;;",
        fixture("unknown_field.txt")
    ))
    .await;
    assert_eq!((seen.trouble, seen.gpus.len()), (None, 1));
    let refusal = seen.gpus[0].refused().expect("too old");
    assert!(refusal.remedy.contains("580"), "{refusal:?}");
}

#[test]
fn files_of_the_driver_that_are_missing_speak_against_every_device() {
    let seen = Seen { missing: vec!["/dev/nvidia-uvm".to_owned()], ..Seen::default() };
    let refusal = seen.refused().expect("missing");
    assert!(
        refusal.why.contains("/dev/nvidia-uvm") && refusal.remedy.contains("nvidia-modprobe"),
        "{refusal:?}"
    );
    assert_eq!(Seen::default().refused(), None);
}
