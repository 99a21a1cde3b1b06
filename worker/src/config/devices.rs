//! Which devices a worker offers, as its owner writes it.

use std::str::FromStr;

/// Devices of one worker at most.
pub(crate) const DEVICES_MAX: u32 = 256;

/// Which devices a worker offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// NVIDIA devices, where there are some that ranks can render on; else the cores.
    Auto,
    /// Those that are named, and no others.
    Named { cpu: Option<Cpu>, cuda: Option<Cuda> },
}

/// How the cores are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// As one device each.
    Cores,
    /// As so many devices.
    Shares(u32),
}

/// Which NVIDIA devices are offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cuda {
    /// Those that ranks can render on, one at least.
    All,
    These(Vec<Pick>),
}

/// One NVIDIA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// In the order of `nvidia-smi`, which is that of the slots.
    Index(u32),
    /// `GPU-…`, or the beginning of it that is no other's.
    Uuid(String),
}

impl Devices {
    /// So many shares of the cores, and nothing else.
    #[must_use]
    pub fn cpu(shares: u32) -> Self {
        Self::Named { cpu: Some(Cpu::Shares(shares)), cuda: None }
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "auto" {
            return Ok(Self::Auto);
        }
        let (mut cpu, mut cuda) = (None, None);
        for word in text.split(',').map(str::trim) {
            let (kind, which) =
                word.split_once(':').map_or((word, None), |(kind, which)| (kind, Some(which)));
            let is_new = match (kind, which) {
                ("cpu", None) => cpu.replace(Cpu::Cores).is_none(),
                ("cpu", Some(shares)) => cpu.replace(Cpu::Shares(number(shares, 1)?)).is_none(),
                ("cuda", None) => cuda.replace(Cuda::All).is_none(),
                ("cuda", Some(which)) => add(&mut cuda, pick(which)?),
                _ => return Err(unknown(word)),
            };
            if !is_new {
                return Err(format!("`{word}` is more than is left to name"));
            }
        }
        Ok(Self::Named { cpu, cuda })
    }
}

/// Whether it was not there before.
fn add(cuda: &mut Option<Cuda>, pick: Pick) -> bool {
    match cuda.get_or_insert_with(|| Cuda::These(Vec::new())) {
        Cuda::All => false,
        Cuda::These(picks) if picks.contains(&pick) => false,
        Cuda::These(picks) => {
            picks.push(pick);
            true
        }
    }
}

fn pick(which: &str) -> Result<Pick, String> {
    let is_uuid = which.starts_with("GPU-") && which.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_uuid { Ok(Pick::Uuid(which.to_owned())) } else { number(which, 0).map(Pick::Index) }
}

fn number(text: &str, least: u32) -> Result<u32, String> {
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .filter(|number| (least..=DEVICES_MAX).contains(number))
        .ok_or_else(|| format!("`{text}` is no number of {least} to {DEVICES_MAX}"))
}

fn unknown(word: &str) -> String {
    format!("`{word}` is neither `auto` nor of a list of `cpu`, `cpu:N`, `cuda`, `cuda:INDEX`, `cuda:GPU-…`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(cpu: Option<Cpu>, cuda: Option<Cuda>) -> Result<Devices, String> {
        Ok(Devices::Named { cpu, cuda })
    }

    #[test]
    fn devices_are_found_or_named_one_by_one() {
        assert_eq!("auto".parse(), Ok(Devices::Auto));
        assert_eq!("cpu".parse(), named(Some(Cpu::Cores), None));
        assert_eq!("cpu:3".parse(), Ok(Devices::cpu(3)));
        assert_eq!("cuda".parse(), named(None, Some(Cuda::All)));
        assert_eq!("cpu:1, cuda".parse(), named(Some(Cpu::Shares(1)), Some(Cuda::All)));
        let these = vec![Pick::Index(0), Pick::Index(2), Pick::Uuid("GPU-5f2a".to_owned())];
        assert_eq!("cuda:0,cuda:2,cuda:GPU-5f2a".parse(), named(None, Some(Cuda::These(these))));
    }

    #[test]
    fn what_names_nothing_or_the_same_twice_is_refused() {
        for bad in [
            "",
            "cpu:0",
            "cpu:-1",
            "cpu:+1",
            "cpu:257",
            "gpu:1",
            "cuda:",
            "cuda:x",
            "cuda:GPU-1;rm",
            "cpu,cpu:2",
            "cuda,cuda:0",
            "cuda:0,cuda",
            "cuda:1,cuda:1",
            "auto,cpu",
            "cuda:MIG-1",
        ] {
            assert!(bad.parse::<Devices>().is_err(), "{bad}");
        }
    }
}
