//! What there is of NVIDIA devices, which of them a worker would use here, and why not the others.

use croft_engine::device::Facts;
use croft_worker::{
    Devices,
    inventory::{
        choose,
        nvidia::{Gpu, Refusal, Seen, Trouble},
    },
};

use super::{Finding, State};
use crate::output::bytes;

/// From here on devices slow themselves down.
const HOT_C: u32 = 85;

/// What was seen, in lines: pure, so that machines that are not here can be examined.
pub(super) fn findings(
    seen: &Seen,
    probed: &Result<Facts, Refusal>,
    devices: &Devices,
    visible: Option<&str>,
) -> Vec<Finding> {
    let is_bare = seen.slots == 0 && seen.gpus.is_empty();
    if is_bare && matches!(seen.trouble, None | Some(Trouble::Absent)) {
        return vec![finding("nvidia", State::Ok, "no device".to_owned(), "")];
    }
    let mut findings = vec![driver(seen)];
    let ranks_can = probed.as_ref().map(|_| ()).map_err(Clone::clone);
    let used = choose(devices, &ranks_can, visible, seen).map(|chosen| chosen.gpus).unwrap_or_default();
    findings.extend(seen.gpus.iter().map(|gpu| device(gpu, used.contains(&gpu))));
    findings.push(libraries(probed));
    findings
}

fn finding(check: &'static str, state: State, found: String, remedy: impl Into<String>) -> Finding {
    Finding { check, state, found, remedy: remedy.into() }
}

/// Whether the driver is there, and tells of its devices.
fn driver(seen: &Seen) -> Finding {
    let count = seen.gpus.len().max(seen.slots);
    let what = format!("{count} device{}", if count == 1 { "" } else { "s" });
    if let Some(trouble) = &seen.trouble {
        let Refusal { why, remedy } = trouble.refusal();
        return finding("nvidia", State::Warning, format!("{what}; {why}"), remedy);
    }
    if let Some(Refusal { why, remedy }) = seen.refused() {
        return finding("nvidia", State::Warning, format!("{what}; {why}"), remedy);
    }
    let driver = seen.gpus.first().map_or("of no version", |gpu| gpu.driver.as_str());
    finding("nvidia", State::Ok, format!("driver {driver}, {what}"), "")
}

fn device(gpu: &Gpu, is_used: bool) -> Finding {
    let compute = gpu.compute.map_or(String::new(), |(major, minor)| format!(" {major}.{minor}"));
    let mut found = format!("cuda:{} {}, {}{compute}", gpu.index, gpu.name, gpu.architecture());
    match gpu.memory_bytes {
        Some(memory) => {
            found.push_str(&format!(", {}, {} to offer", bytes(memory), bytes(gpu.offered_bytes())));
        }
        None => found.push_str(", shares the machine's memory"),
    }
    if let Some(celsius) = gpu.temperature_c {
        found.push_str(&format!(", {celsius} °C"));
    }
    if !gpu.processes.is_empty() || gpu.shows_desktop {
        found.push_str(&format!(", {} held by {}", bytes(gpu.used_bytes), gpu.held_by()));
    }
    if let Some(Refusal { why, remedy }) = gpu.refused() {
        return finding("gpu", State::Warning, format!("{found}; not used: {why}"), remedy);
    }
    if let Some(bits) = gpu.lost_bits.filter(|bits| *bits > 0) {
        let remedy = format!(
            "run `nvidia-smi --gpu-reset -i {}` as root; replace it if that does not last",
            gpu.index
        );
        return finding("gpu", State::Warning, format!("{found}; its memory lost {bits} bits"), remedy);
    }
    if gpu.temperature_c.is_some_and(|celsius| celsius >= HOT_C) {
        let remedy = "it slows itself down: see its fans and the room";
        return finding("gpu", State::Warning, format!("{found}; hot"), remedy);
    }
    // Why none is used stands in the lines before and after.
    let end = if is_used { "; used" } else { "; not used" };
    finding("gpu", State::Ok, found + end, "")
}

/// What ranks load.
fn libraries(probed: &Result<Facts, Refusal>) -> Finding {
    match probed {
        Err(Refusal { why, remedy }) => {
            finding("cuda", State::Warning, format!("not used: {why}"), remedy.as_str())
        }
        Ok(Facts { cuda, cublas_lt, nccl }) => {
            let version =
                |told: &Result<String, String>| told.clone().unwrap_or_else(|why| format!("none ({why})"));
            let found = format!("CUDA {cuda}, cuBLASLt {}, NCCL {}", version(cublas_lt), version(nccl));
            // A gang without it goes over TCP.
            finding("cuda", State::Ok, found, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn gpu() -> Gpu {
        Gpu {
            uuid: "GPU-1".to_owned(),
            name: "NVIDIA GeForce RTX 4090".to_owned(),
            compute: Some((8, 9)),
            driver: "580.95.05".to_owned(),
            memory_bytes: Some(24 * GIB),
            temperature_c: Some(44),
            ..Gpu::default()
        }
    }

    fn seen(gpus: Vec<Gpu>) -> Seen {
        Seen { slots: gpus.len(), gpus, ..Seen::default() }
    }

    fn facts() -> Facts {
        Facts { cuda: "13.0".to_owned(), cublas_lt: Ok("13.1.0".to_owned()), nccl: Ok("2.28.9".to_owned()) }
    }

    /// Each line's check, state, what was found and the remedy.
    fn lines(seen: &Seen, probed: &Result<Facts, Refusal>) -> Vec<String> {
        findings(seen, probed, &Devices::Auto, None)
            .into_iter()
            .map(|f| format!("{} {:?}: {}; {}", f.check, f.state, f.found, f.remedy))
            .collect()
    }

    #[test]
    fn a_machine_without_devices_is_told_in_one_line() {
        let not_built = Err(Refusal::new("no `cuda`", "build it"));
        assert_eq!(lines(&Seen::default(), &not_built), ["nvidia Ok: no device; "]);
        let absent = Seen { trouble: Some(Trouble::Absent), ..Seen::default() };
        assert_eq!(lines(&absent, &Ok(facts())), ["nvidia Ok: no device; "]);
    }

    #[test]
    fn a_device_that_is_used_says_what_it_is_and_what_is_loaded() {
        assert_eq!(
            lines(&seen(vec![gpu()]), &Ok(facts())),
            [
                "nvidia Ok: driver 580.95.05, 1 device; ",
                "gpu Ok: cuda:0 NVIDIA GeForce RTX 4090, Ada 8.9, 24.0 GiB, 23.8 GiB to offer, 44 °C; used; ",
                "cuda Ok: CUDA 13.0, cuBLASLt 13.1.0, NCCL 2.28.9; ",
            ]
        );
    }

    #[test]
    fn a_program_without_cuda_says_so_beside_the_device() {
        let not_built =
            Err(Refusal::new("this program was built without the feature `cuda`", "install another"));
        let lines = lines(&seen(vec![gpu()]), &not_built);
        assert!(lines[1].ends_with("44 °C; not used; "), "{lines:?}");
        assert_eq!(
            lines[2],
            "cuda Warning: not used: this program was built without the feature `cuda`; install another"
        );
    }

    #[test]
    fn every_trouble_has_its_line_and_its_remedy() {
        let process = croft_worker::inventory::nvidia::Process {
            pid: 7,
            name: "/usr/bin/blender".to_owned(),
            memory_bytes: Some(11 * GIB),
        };
        let busy = Gpu { used_bytes: 11 * GIB, processes: vec![process], ..gpu() };
        let cases = [
            (seen(vec![busy]), 1, "11.0 GiB held by blender (7) 11.0 GiB; used"),
            (
                seen(vec![Gpu { compute: Some((6, 1)), ..gpu() }]),
                1,
                "gpu Warning: cuda:0 NVIDIA GeForce RTX 4090, Pascal 6.1",
            ),
            (seen(vec![Gpu { is_split: true, ..gpu() }]), 1, "-mig 0"),
            (seen(vec![Gpu { lost_bits: Some(2), ..gpu() }]), 1, "its memory lost 2 bits"),
            (seen(vec![Gpu { temperature_c: Some(91), ..gpu() }]), 1, "hot; it slows itself down"),
            (
                Seen { trouble: Some(Trouble::Silent(10)), slots: 1, ..Seen::default() },
                0,
                "did not answer in 10 s",
            ),
            (
                Seen { trouble: Some(Trouble::Absent), slots: 2, ..Seen::default() },
                0,
                "2 devices; there is no nvidia-smi",
            ),
            (Seen { missing: vec!["/dev/nvidia-uvm".to_owned()], ..seen(vec![gpu()]) }, 0, "nvidia-modprobe"),
        ];
        for (seen, at, words) in cases {
            let lines = lines(&seen, &Ok(facts()));
            assert!(lines[at].contains(words), "{words}: {lines:?}");
        }
    }
}
