//! Devices as a file describes them: what is there, or what may be bought.

use std::path::Path;

use croft_core::split::{Fleet, Host, Kind, Link};
use serde::Deserialize;

use crate::{
    config::{self, Settings},
    exit::{Exit, Failed},
};

const DEVICES_MAX: u32 = 1_024;
/// What nobody has yet: a number beyond it is in another unit.
pub(crate) const MEMORY_GIB_MAX: f64 = 10_000.0;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    hosts: Vec<HostOf>,
    between: Option<LinkOf>,
}

impl Settings for File {
    const KEYS: &'static [&'static str] = &["hosts", "between"];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostOf {
    name: String,
    devices: u32,
    memory_gib: f64,
    tflops: f64,
    link: Option<LinkOf>,
    /// `cpu` for devices that compute in f32; any other word, or none, for bf16.
    kind: Option<String>,
    /// At which weights come to a device that does not hold them all.
    upload_gb_per_s: Option<f64>,
}

/// A link as a settings file describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkOf {
    name: String,
    gb_per_s: f64,
    latency_us: f64,
}

impl LinkOf {
    /// The link, or what is wrong with it.
    pub(crate) fn link(&self) -> Result<Link, String> {
        let fits = self.gb_per_s > 0.0 && self.gb_per_s.is_finite() && (0.0..1e9).contains(&self.latency_us);
        fits.then(|| Link {
            name: self.name.clone(),
            bytes_per_s: self.gb_per_s * 1e9,
            latency_s: self.latency_us * 1e-6,
        })
        .ok_or_else(|| format!("link '{}': gb_per_s is above 0, latency_us 0 or more", self.name))
    }
}

/// Reads a fleet.
pub(crate) fn read(path: &Path) -> Result<Fleet, Failed> {
    let file: File = config::load(path)?;
    let bad = |what: String| Failed::with(Exit::Usage, format!("{}: {what}", path.display()));
    let link = |told: &LinkOf| told.link().map_err(bad);
    let mut hosts = Vec::new();
    for told in &file.hosts {
        let name = &told.name;
        let fits = (1..=DEVICES_MAX).contains(&told.devices)
            && told.memory_gib > 0.0
            && told.memory_gib <= MEMORY_GIB_MAX
            && told.tflops > 0.0
            && told.tflops.is_finite()
            && told.upload_gb_per_s.is_none_or(|speed| speed > 0.0 && speed.is_finite());
        if !fits {
            let what = format!(
                "host '{name}': devices is 1 to {DEVICES_MAX}, memory_gib, tflops and upload_gb_per_s are above 0"
            );
            return Err(bad(what));
        }
        let memory_bytes = (told.memory_gib * f64::from(1 << 30)) as u64;
        let kind = Kind::of(told.kind.as_deref().unwrap_or_default());
        let mut host = Host::new(name, kind, vec![memory_bytes; told.devices as usize]);
        host.flops = told.tflops * 1e12;
        host.upload_bytes_per_s = told.upload_gb_per_s.map_or(host.upload_bytes_per_s, |speed| speed * 1e9);
        match &told.link {
            Some(between) => host.link = link(between)?,
            None if told.devices == 1 => {}
            None => {
                let what = format!("host '{name}' has {} devices and no link between them", told.devices);
                return Err(
                    bad(what).help("add link = { name = \"PCIe 4\", gb_per_s = 25, latency_us = 40 }")
                );
            }
        }
        hosts.push(host);
    }
    let between = match &file.between {
        Some(between) => link(between)?,
        None if hosts.len() == 1 => hosts[0].link.clone(),
        None => {
            let what = format!("{} hosts and no [between], which says what links them", hosts.len());
            return Err(bad(what).help("add [between] with name, gb_per_s and latency_us"));
        }
    };
    Ok(Fleet { hosts, between })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().expect("scratch");
        std::fs::write(file.path(), text).expect("written");
        read(file.path()).expect_err("it is wrong").to_string()
    }

    #[test]
    fn the_examples_are_fleets() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleets");
        for (name, devices) in [("two-hosts-10gbe", 2), ("one-host-pcie", 2), ("one-host-nvlink", 2)] {
            let fleet = read(&examples.join(format!("{name}.toml"))).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(fleet.devices(), devices);
        }
    }

    #[test]
    fn what_no_fleet_can_be_is_refused_with_its_place() {
        let host = "[[hosts]]\nname = \"a\"\ndevices = 2\nmemory_gib = 24\ntflops = 100\n";
        assert!(refused(host).contains("'a' has 2 devices and no link"));
        let one = host.replace("devices = 2", "devices = 1");
        assert!(refused(&format!("{one}{one}")).contains("no [between]"));
        assert!(refused(&one.replace("24", "-1")).contains("memory_gib"));
        assert!(refused(&one.replace("tflops", "teraflops")).contains("teraflops"));
        assert!(refused("").contains("hosts"));
    }
}
