//! What is offered of machines that were seen, by settings.

use super::*;

const GIB: u64 = 1 << 30;

fn gpu(index: u32, name: &str) -> Gpu {
    Gpu {
        index,
        uuid: format!("GPU-{index}{index}"),
        name: name.to_owned(),
        compute: Some((8, 9)),
        driver: "580.95.05".to_owned(),
        memory_bytes: Some(24 * GIB),
        pcie: Some((4, 16)),
        ..Gpu::default()
    }
}

/// Two that can be used and an old one.
fn three() -> Seen {
    let old = Gpu { compute: Some((6, 1)), ..gpu(2, "NVIDIA GeForce GTX 1080") };
    Seen {
        gpus: vec![gpu(0, "NVIDIA GeForce RTX 4090"), gpu(1, "NVIDIA L4"), old],
        slots: 3,
        ..Seen::default()
    }
}

fn settings(devices: &str) -> Config {
    Config { devices: devices.parse().expect("devices"), cuda: Ok(()), ..Config::default() }
}

fn offered(config: &Config, seen: &Seen) -> Result<Offered, String> {
    let processor = Processor { model: "Some CPU".to_owned(), memory_bytes: 64 * GIB };
    offer(config, 8, &processor, seen).map_err(|error| error.to_string())
}

/// Kind, threads, memory in MiB, one a device.
fn told(config: &Config, seen: &Seen) -> Vec<(String, u32, u64)> {
    let devices = offered(config, seen).expect("offered").devices;
    assert!(devices.iter().zip(0..).all(|(device, index)| device.info.index == index));
    devices.into_iter().map(|d| (d.info.kind, d.info.threads, d.info.memory_bytes >> 20)).collect()
}

fn cpu(count: usize, threads: u32, mib: u64) -> Vec<(String, u32, u64)> {
    vec![("cpu".to_owned(), threads, mib); count]
}

fn cuda(count: usize, threads: u32) -> Vec<(String, u32, u64)> {
    vec![("cuda".to_owned(), threads, 24 * 1024 - 256); count]
}

#[test]
fn what_is_found_is_offered_devices_before_cores() {
    let auto = settings("auto");
    assert_eq!(told(&auto, &three()), cuda(2, 4));
    assert_eq!(told(&auto, &Seen::default()), cpu(8, 1, 8 * 1024));
    let offered = offered(&auto, &three()).expect("offered");
    assert_eq!(offered.devices[1].place, Place::Cuda { uuid: "GPU-11".to_owned() });
    assert_eq!(
        (offered.devices[1].info.model.as_str(), offered.devices[1].info.gflops),
        ("NVIDIA L4", 60_500)
    );
    assert_eq!(offered.words.len(), 1);
    assert!(
        offered.words[0].starts_with("cuda:2 (NVIDIA GeForce GTX 1080) is not used: "),
        "{:?}",
        offered.words
    );
}

#[test]
fn what_cannot_be_used_leaves_the_cores_and_a_word() {
    let not_built = Config { cuda: Err(Refusal::new("no `cuda`", "build it anew")), ..settings("auto") };
    assert!(!asks(&not_built));
    let seen = Seen { slots: 1, ..Seen::default() };
    assert_eq!(told(&not_built, &seen), cpu(8, 1, 8 * 1024));
    let words = |config: &Config, seen: &Seen| offered(config, seen).expect("offered").words;
    assert_eq!(words(&not_built, &seen), ["NVIDIA devices are not used: no `cuda`; build it anew"]);
    assert!(words(&not_built, &Seen::default()).is_empty(), "nobody misses what is not there");
    let silent = Seen { trouble: Some(Trouble::Silent(10)), slots: 1, ..Seen::default() };
    assert!(words(&settings("auto"), &silent)[0].contains("did not answer in 10 s"));
    let absent = Seen { trouble: Some(Trouble::Absent), ..Seen::default() };
    assert!(words(&settings("auto"), &absent).is_empty());
    let missing = Seen { missing: vec!["/dev/nvidia-uvm".to_owned()], ..three() };
    assert_eq!(told(&settings("auto"), &missing), cpu(8, 1, 8 * 1024));
}

#[test]
fn what_is_named_is_offered_and_nothing_else() {
    assert_eq!(told(&settings("cpu:2"), &three()), cpu(2, 4, 32 * 1024));
    assert_eq!(told(&settings("cuda"), &three()), cuda(2, 4));
    assert_eq!(told(&settings("cuda:1"), &three()), cuda(1, 8));
    assert_eq!(told(&settings("cuda:GPU-0"), &three()), cuda(1, 8));
    let both = [cuda(1, 4), cpu(1, 4, 64 * 1024)].concat();
    assert_eq!(told(&settings("cpu:1,cuda:0"), &three()), both);
    assert_eq!(told(&settings("cpu,cuda"), &three()), [cuda(2, 1), cpu(6, 1, 64 * 1024 / 6)].concat());
}

#[test]
fn what_is_named_and_cannot_be_had_ends_the_worker_with_words() {
    let refused = |config: &Config, seen: &Seen| offered(config, seen).expect_err("refused");
    assert!(refused(&settings("cuda:2"), &three()).contains("compute capability is 6.1"));
    assert_eq!(
        refused(&settings("cuda:7"), &three()),
        "no device cuda:7: there are 0, 1, 2; see `nvidia-smi -L`"
    );
    assert!(refused(&settings("cuda:GPU-"), &three()).contains("beginning of several"));
    assert!(refused(&settings("cuda:0,cuda:GPU-00"), &three()).contains("named twice"));
    let old = Seen { gpus: three().gpus.split_off(2), ..three() };
    assert!(refused(&settings("cuda"), &old).contains("compute capability is 6.1"));
    let silent = Seen { trouble: Some(Trouble::Silent(10)), ..Seen::default() };
    for devices in ["cuda", "cuda:0"] {
        assert!(refused(&settings(devices), &silent).contains("did not answer"));
        let not_built = Config { cuda: Err(Refusal::new("no `cuda`", "build it")), ..settings(devices) };
        assert_eq!(refused(&not_built, &three()), "no NVIDIA device is used: no `cuda`; build it");
    }
    let none = Config { devices: Devices::cpu(0), ..Config::default() };
    assert!(refused(&none, &three()).contains("no devices"));
}

#[test]
fn the_variable_that_hides_devices_is_kept_to() {
    let hidden = |visible: &str| Config { visible: Some(visible.to_owned()), ..settings("auto") };
    let uuids = |config: &Config| -> Vec<String> {
        let devices = offered(config, &three()).expect("offered").devices;
        let uuid = |place| match place {
            Place::Cuda { uuid } => Some(uuid),
            Place::Cpu => None,
        };
        devices.into_iter().filter_map(|device| uuid(device.place)).collect()
    };
    assert_eq!(uuids(&hidden("1")), ["GPU-11"]);
    assert_eq!(uuids(&hidden("GPU-0, 1")), ["GPU-00", "GPU-11"]);
    assert_eq!(uuids(&hidden("0,-1,1")), ["GPU-00"]);
    assert!(uuids(&hidden("")).is_empty());
    let named = Config { visible: Some("1".to_owned()), ..settings("cuda:0") };
    assert!(offered(&named, &three()).expect_err("hidden").contains("CUDA_VISIBLE_DEVICES hides it"));
}

#[test]
fn its_owners_word_on_memory_speed_and_link_counts_as_far_as_there_is_any() {
    let link = Link { name: "mine".to_owned(), bytes_per_s: 1, latency_ns: 1 };
    let config = Config {
        memory_bytes: Some(16 * GIB),
        gflops: Some(7),
        link: Some(link.clone()),
        ..settings("cuda,cpu:1")
    };
    let mut seen = three();
    seen.gpus[0].used_bytes = 20 * GIB;
    let offer = offered(&config, &seen).expect("offered");
    assert_eq!(offer.link, Some(link));
    let said: Vec<_> = offer.devices.iter().map(|d| (d.info.memory_bytes / GIB, d.info.gflops)).collect();
    assert_eq!(said, [(16, 7), (16, 7), (16, 0)]);
    let greedy = Config { memory_bytes: Some(99 * GIB), ..settings("cuda:0") };
    assert_eq!(told(&greedy, &seen)[0].2, 24 * 1024 - 256);
    assert_eq!(told(&settings("cuda:0"), &seen)[0].2, 4 * 1024 - 256);
}

#[test]
fn a_rank_sees_its_own_device_and_no_other() {
    assert!(Place::Cpu.arguments().is_empty() && Place::Cpu.environment().is_empty());
    let place = Place::Cuda { uuid: "GPU-1".to_owned() };
    assert_eq!(place.arguments(), ["--device", "cuda:0"]);
    assert_eq!(place.environment()[0], ("CUDA_VISIBLE_DEVICES", "GPU-1"));
}
