//! Which devices are offered, and as what: a pure function of the settings and of what was seen of the machine.

use croft_proto::v1::{DeviceInfo, Link};

use super::{
    cpu::Processor,
    nvidia::{self, Gpu, Refusal, Seen, Trouble},
};
use crate::{
    Error,
    config::{Config, Cpu, Cuda, DEVICES_MAX, Devices, Pick},
};

/// What a worker offers.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) devices: Vec<Offer>,
    /// Between them.
    pub(crate) link: Option<Link>,
    /// What its owner may have expected, and does not get.
    pub(crate) words: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) info: DeviceInfo,
    pub(crate) place: Place,
}

/// What the ranks of a device compute on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    /// The NVIDIA device of this name.
    Cuda {
        uuid: String,
    },
}

impl Place {
    /// For the command line of a rank.
    pub(crate) fn arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &[],
            // It sees no other.
            Self::Cuda { .. } => &["--device", "cuda:0"],
        }
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Cpu => Vec::new(),
            Self::Cuda { uuid } => vec![
                ("CUDA_VISIBLE_DEVICES", uuid),
                ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
                // It would be below the home folder, where a rank writes nothing.
                ("CUDA_CACHE_DISABLE", "1"),
            ],
        }
    }
}

/// NVIDIA devices that are to be used, and words on those that are not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen<'a> {
    pub gpus: Vec<&'a Gpu>,
    pub words: Vec<String>,
}

/// Whether `nvidia-smi` has anything to say that counts.
pub(super) fn asks(config: &Config) -> bool {
    match &config.devices {
        Devices::Auto => config.cuda.is_ok(),
        Devices::Named { cuda, .. } => cuda.is_some(),
    }
}

/// What is seen of NVIDIA devices without asking: how many there are, where nobody named others.
pub(super) fn unasked(config: &Config) -> Seen {
    if config.devices == Devices::Auto { Seen::unasked() } else { Seen::default() }
}

/// What a worker offers of a machine with so many cores.
pub(super) fn offer(
    config: &Config,
    cores: u32,
    processor: &Processor,
    seen: &Seen,
) -> Result<Offered, Error> {
    let Chosen { gpus, words } = choose(&config.devices, &config.cuda, config.visible.as_deref(), seen)
        .map_err(|Refusal { why, remedy }| Error::Device { what: why, remedy })?;
    let cards = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
    let shares = match &config.devices {
        Devices::Auto if gpus.is_empty() => cores.min(DEVICES_MAX),
        Devices::Auto | Devices::Named { cpu: None, .. } => 0,
        // Clips side by side keep cores busier than threads on one clip. Each card wants one to be fed by.
        Devices::Named { cpu: Some(Cpu::Cores), .. } => {
            cores.saturating_sub(cards).clamp(1, DEVICES_MAX.saturating_sub(cards).max(1))
        }
        Devices::Named { cpu: Some(Cpu::Shares(shares)), .. } => *shares,
    };
    let count = cards.saturating_add(shares);
    if count == 0 || count > DEVICES_MAX {
        return Err(Error::NoDevices { max: DEVICES_MAX });
    }
    let threads = config.threads_per_device.unwrap_or(cores / count).max(1);
    let link = config.link.clone().or_else(|| seen.links.between(&gpus));
    let mut devices: Vec<Offer> = gpus.iter().map(|gpu| card(config, gpu, threads)).collect();
    devices.extend((0..shares).map(|_| Offer {
        place: Place::Cpu,
        info: DeviceInfo {
            kind: "cpu".to_owned(),
            model: processor.model.clone(),
            memory_bytes: config.memory_bytes.unwrap_or(processor.memory_bytes / u64::from(shares)),
            threads,
            // What its owner says is of the NVIDIA devices beside it.
            gflops: config.gflops.filter(|_| gpus.is_empty()).unwrap_or(0),
            ..DeviceInfo::default()
        },
    }));
    for (index, device) in (0..).zip(&mut devices) {
        device.info.index = index;
    }
    Ok(Offered { devices, link, words })
}

fn card(config: &Config, gpu: &Gpu, threads: u32) -> Offer {
    let memory_bytes = match (config.memory_bytes, gpu.memory_bytes) {
        // Its owner knows who else uses it; more than there is, nobody has.
        (Some(asked), Some(_)) => asked.min(gpu.offered_bytes_max()),
        (Some(asked), None) => asked,
        (None, _) => gpu.offered_bytes(),
    };
    Offer {
        place: Place::Cuda { uuid: gpu.uuid.clone() },
        info: DeviceInfo {
            kind: "cuda".to_owned(),
            model: gpu.name.clone(),
            memory_bytes,
            threads,
            gflops: config.gflops.unwrap_or_else(|| nvidia::gflops(&gpu.name)),
            ..DeviceInfo::default()
        },
    }
}

/// The NVIDIA devices that are to be used. Where nobody asked for any, none is no failure.
///
/// # Errors
/// When a device that was asked for cannot be used.
pub fn choose<'a>(
    devices: &Devices,
    ranks_can: &Result<(), Refusal>,
    visible: Option<&str>,
    seen: &'a Seen,
) -> Result<Chosen<'a>, Refusal> {
    let asked = match devices {
        Devices::Auto => None,
        Devices::Named { cuda: None, .. } => return Ok(Chosen::default()),
        Devices::Named { cuda: Some(cuda), .. } => Some(cuda),
    };
    if let Err(refusal) =
        ranks_can.as_ref().map_err(Clone::clone).and_then(|()| seen.refused().map_or(Ok(()), Err))
    {
        return match asked {
            Some(_) => Err(Refusal { why: format!("no NVIDIA device is used: {}", refusal.why), ..refusal }),
            None if seen.slots == 0 && seen.gpus.is_empty() => Ok(Chosen::default()),
            None => Ok(Chosen { gpus: Vec::new(), words: vec![unused("NVIDIA devices are", &refusal)] }),
        };
    }
    let refused = |gpu: &Gpu| {
        let hidden = || {
            let remedy = "name it there, or start the worker without that variable";
            (!is_visible(gpu, visible)).then(|| Refusal::new("CUDA_VISIBLE_DEVICES hides it", remedy))
        };
        gpu.refused().or_else(hidden)
    };
    let picks = match asked {
        Some(Cuda::These(picks)) => picks,
        Some(Cuda::All) | None => {
            let mut chosen = Chosen::default();
            for gpu in &seen.gpus {
                match refused(gpu) {
                    Some(refusal) => chosen.words.push(unused(&format!("{} is", name(gpu)), &refusal)),
                    None => chosen.gpus.push(gpu),
                }
            }
            let trouble =
                seen.trouble.as_ref().filter(|trouble| **trouble != Trouble::Absent || seen.slots > 0);
            chosen.words.extend(trouble.map(|trouble| unused("NVIDIA devices may be", &trouble.refusal())));
            if chosen.gpus.is_empty() && asked.is_some() {
                let why = seen.trouble.as_ref().map(Trouble::refusal);
                let why = why
                    .unwrap_or_else(|| Refusal::new("there is none that can be used", "see `croft doctor`"));
                let words = chosen.words.iter().map(|words| format!("; {words}")).collect::<String>();
                return Err(Refusal { why: format!("no NVIDIA device: {}{words}", why.why), ..why });
            }
            return Ok(chosen);
        }
    };
    let mut chosen = Chosen::default();
    for pick in picks {
        let gpu = find(pick, seen)?;
        if let Some(Refusal { why, remedy }) = refused(gpu) {
            return Err(Refusal::new(format!("{} is not used: {why}", name(gpu)), remedy));
        }
        if chosen.gpus.contains(&gpu) {
            return Err(Refusal::new(format!("{} is named twice", name(gpu)), "name it once"));
        }
        chosen.gpus.push(gpu);
    }
    Ok(chosen)
}

fn find<'a>(pick: &Pick, seen: &'a Seen) -> Result<&'a Gpu, Refusal> {
    let fits = |gpu: &&Gpu| match pick {
        Pick::Index(index) => gpu.index == *index,
        Pick::Uuid(uuid) => gpu.uuid.starts_with(uuid),
    };
    let mut fitting = seen.gpus.iter().filter(fits);
    let named = match pick {
        Pick::Index(index) => format!("cuda:{index}"),
        Pick::Uuid(uuid) => format!("cuda:{uuid}"),
    };
    match (fitting.next(), fitting.next()) {
        (Some(gpu), None) => Ok(gpu),
        (Some(_), Some(_)) => {
            Err(Refusal::new(format!("{named} is the beginning of several"), "give it whole"))
        }
        (None, _) => {
            let trouble = seen.trouble.as_ref().map(Trouble::refusal);
            let there: Vec<String> = seen.gpus.iter().map(|gpu| gpu.index.to_string()).collect();
            let why = match &trouble {
                Some(trouble) => trouble.why.clone(),
                None if there.is_empty() => "there is no NVIDIA device".to_owned(),
                None => format!("there are {}", there.join(", ")),
            };
            let remedy = trouble.map_or_else(|| "see `nvidia-smi -L`".to_owned(), |trouble| trouble.remedy);
            Err(Refusal::new(format!("no device {named}: {why}"), remedy))
        }
    }
}

/// Whether the variable that hides devices from CUDA names this one: by its index or its name.
fn is_visible(gpu: &Gpu, visible: Option<&str>) -> bool {
    let Some(visible) = visible else { return true };
    let names = |word: &str| word.parse() == Ok(gpu.index) || !word.is_empty() && gpu.uuid.starts_with(word);
    // CUDA reads no further than to the first that names nothing.
    visible.split(',').map(str::trim).take_while(|word| *word != "-1").any(names)
}

fn name(gpu: &Gpu) -> String {
    format!("cuda:{} ({})", gpu.index, gpu.name)
}

fn unused(which: &str, refusal: &Refusal) -> String {
    format!("{which} not used: {}; {}", refusal.why, refusal.remedy)
}

#[cfg(test)]
mod tests;
