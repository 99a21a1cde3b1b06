//! The choice: what fits, how long a step would take, and the arithmetic in words.

use std::cmp::Ordering;

use super::{Fleet, Host, Link, Mode, Need, Shape, Shot, fleet};

/// Sums over all ranks in one layer: after each attention and the feed-forward layer.
const SUMS: f64 = 3.0;
/// And of the squares that queries and keys are normalised by, two numbers a token for each attention.
const NORM_SUMS: f64 = 2.0;

/// One way to render a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// `None` for one device alone.
    pub mode: Option<Mode>,
    pub ranks: u32,
    /// The host, or what lies between several.
    pub place: String,
    pub need: Need,
    /// Of one step.
    pub compute_s: f64,
    pub communication_s: f64,
    /// Bytes that rank 0 sends in a step.
    pub sent_bytes: f64,
    /// Why it is not to be had.
    pub refused: Option<String>,
}

impl Way {
    #[must_use]
    pub fn step_s(&self) -> f64 {
        self.compute_s + self.communication_s
    }
}

/// What is best, and what else was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// `None` where nothing fits.
    pub chosen: Option<Way>,
    pub others: Vec<Way>,
    /// Why, a line each.
    pub words: Vec<String>,
}

/// Looks at one device, then at each way to split over as few devices as it takes, within a host and across hosts, and takes
/// the shortest step. `shots` is how many clips wait: with fewer clips than devices, a clip that fits a device may still be
/// done sooner by two. A mode that the job `insists` on is the only one looked at, and slow links do not speak against it.
#[must_use]
pub fn choose(shape: &Shape, shot: &Shot, fleet: &Fleet, shots: u64, insists: Option<Mode>) -> Choice {
    let table = Table { shape, shot, fleet };
    let mut ways = Vec::new();
    if insists.is_none() {
        ways.extend(fleet.hosts.iter().filter_map(|host| table.alone(host)).min_by(by_step));
    }
    let fits_one = ways.iter().any(|way| way.refused.is_none());
    let is_hurried = shots < u64::from(fleet.devices());
    for mode in Mode::ALL.into_iter().filter(|mode| insists.is_none_or(|asked| asked == *mode)) {
        // Splitting what fits costs the others their devices: worth it for a single step's two branches alone.
        if fits_one && insists.is_none() && !(mode == Mode::Guidance && is_hurried) {
            continue;
        }
        ways.extend(
            fleet
                .hosts
                .iter()
                .filter_map(|host| table.split(mode, std::slice::from_ref(host)))
                .min_by(by_step),
        );
        if fleet.hosts.len() > 1 {
            ways.extend(table.split(mode, &fleet.hosts));
        }
    }
    if insists.is_none() {
        for way in &mut ways {
            refuse_slow(way);
        }
    }
    let best =
        (0..ways.len()).filter(|at| ways[*at].refused.is_none()).min_by(|a, b| by_step(&ways[*a], &ways[*b]));
    let chosen = best.map(|at| ways.remove(at));
    let words = table.words(chosen.as_ref(), &ways);
    Choice { chosen, others: ways, words }
}

fn by_step(a: &Way, b: &Way) -> Ordering {
    let key = |way: &Way| (way.refused.is_some(), way.step_s());
    key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal)
}

/// Where moving takes longer than computing, fewer devices would be as fast.
fn refuse_slow(way: &mut Way) {
    if way.refused.is_none() && way.communication_s > way.compute_s {
        way.refused = Some(format!(
            "moving takes {:.2} s and computing {:.2} s: ask for it by name if it is wanted all the same",
            way.communication_s, way.compute_s
        ));
    }
}

struct Table<'a> {
    shape: &'a Shape,
    shot: &'a Shot,
    fleet: &'a Fleet,
}

impl Table<'_> {
    fn alone(&self, host: &Host) -> Option<Way> {
        (host.devices > 0).then(|| {
            let need = self.need(Mode::Tensor, 1);
            let operations = self.shape.operations(self.shot) * self.shot.branches() as f64;
            Way {
                mode: None,
                ranks: 1,
                place: format!("a device of {}", host.name),
                need,
                compute_s: operations / host.flops,
                communication_s: 0.0,
                sent_bytes: 0.0,
                refused: too_large(&need, host.memory_bytes),
            }
        })
    }

    /// Over as few devices of `hosts` as it takes; where none are enough, over as many as there are, refused.
    fn split(&self, mode: Mode, hosts: &[Host]) -> Option<Way> {
        let devices: u32 = hosts.iter().map(|host| host.devices).sum();
        let most = devices.min(match mode {
            Mode::Tensor => self.shape.heads.min(self.shape.text_heads),
            Mode::Layers => self.shape.layers.min(self.shape.text_heads),
            Mode::Guidance if self.shot.is_guided => super::GUIDANCE_RANKS,
            Mode::Guidance => return None,
        });
        let memory = hosts.iter().map(|host| host.memory_bytes).min()?;
        let flops = hosts.iter().map(|host| host.flops).fold(f64::INFINITY, f64::min);
        let degrees = 2..=most;
        let degrees = degrees.filter(|ranks| mode != Mode::Tensor || self.shape.heads.is_multiple_of(*ranks));
        let mut found = None;
        for ranks in degrees {
            let need = self.need(mode, ranks);
            let fits = need.total() <= memory;
            found = Some((ranks, need));
            if fits {
                break;
            }
        }
        let (ranks, need) = found?;
        let (link, place) = match hosts {
            [host] => (&host.link, format!("{} over {}", host.name, host.link.name)),
            hosts => (&self.fleet.between, format!("{} hosts over {}", hosts.len(), self.fleet.between.name)),
        };
        let (compute_s, communication_s, sent_bytes) = self.step(mode, ranks, flops, link);
        Some(Way {
            mode: Some(mode),
            ranks,
            place,
            need,
            compute_s,
            communication_s,
            sent_bytes,
            refused: too_large(&need, memory),
        })
    }

    fn need(&self, mode: Mode, ranks: u32) -> Need {
        self.shape.need(self.shot, mode, ranks, self.fleet.number_bytes)
    }

    /// Seconds of computing and of moving in one step, and the bytes that a rank sends.
    fn step(&self, mode: Mode, ranks: u32, flops: f64, link: &fleet::Link) -> (f64, f64, f64) {
        let (n, branches) = (f64::from(ranks), self.shot.branches() as f64);
        let branch_s = self.shape.operations(self.shot) / flops;
        let tokens = self.shape.tokens(self.shot) as f64;
        let layers = f64::from(self.shape.layers);
        let activation = tokens * f64::from(self.shape.width) * self.fleet.number_bytes as f64;
        let velocity = tokens * f64::from(self.shape.channels) * 4.0;
        match mode {
            Mode::Tensor => {
                // What each rank sends of a sum: its parts to the others, then what it has summed.
                let share = 2.0 * (n - 1.0) / n;
                let norms = 2.0 * tokens * 4.0;
                let sent = share * layers * branches * (SUMS * activation + NORM_SUMS * norms);
                let messages = 2.0 * layers * (SUMS + NORM_SUMS);
                (branches * branch_s / n, link.seconds(sent, messages), sent)
            }
            Mode::Layers => {
                // The branches follow each other through the ranks; the last one's velocity goes to all.
                let (slots, cuts) = (n + branches - 1.0, n - 1.0);
                let moved = cuts * activation + branches * velocity;
                (slots * branch_s / n, link.seconds(moved, cuts + 1.0), branches * activation)
            }
            Mode::Guidance => (branch_s, link.seconds(velocity, 1.0), velocity),
        }
    }

    fn words(&self, chosen: Option<&Way>, others: &[Way]) -> Vec<String> {
        let tokens = self.shape.tokens(self.shot);
        let operations = self.shape.operations(self.shot) * self.shot.branches() as f64;
        let mut words = vec![format!(
            "{tokens} tokens x {} branches, {:.1} T operations a step; weights {} in all",
            self.shot.branches(),
            operations / 1e12,
            bytes(self.need(Mode::Tensor, 1).weights),
        )];
        words.extend(others.iter().map(|way| {
            let slower = || format!("a step takes {:.2} s", way.step_s());
            format!("not {}: {}", told(way), way.refused.clone().unwrap_or_else(slower))
        }));
        words.push(match chosen {
            Some(way) => format!("best {}: {}", told(way), arithmetic(way)),
            None => {
                "nothing fits: ask for fewer frames or pixels, or offer larger or more devices".to_owned()
            }
        });
        words
    }
}

fn told(way: &Way) -> String {
    match way.mode {
        None => format!("whole on {}", way.place),
        Some(mode) => format!("{} over {} devices, {}", mode.name(), way.ranks, way.place),
    }
}

fn arithmetic(way: &Way) -> String {
    let Need { weights, denoise, decode, reserve } = way.need;
    let mut words = format!(
        "{} a device ({} weights, {} for steps or {} for decoding, {} reserve); a step computes {:.2} s",
        bytes(way.need.total()),
        bytes(weights),
        bytes(denoise),
        bytes(decode),
        bytes(reserve),
        way.compute_s,
    );
    if way.mode.is_some() {
        let (sent, moving) = (bytes(way.sent_bytes as u64), way.communication_s);
        words += &format!(", moves {sent} in {moving:.2} s: {:.2} s", way.step_s());
    }
    words
}

fn too_large(need: &Need, memory: u64) -> Option<String> {
    let total = need.total();
    (total > memory).then(|| format!("it needs {} of a device's {}", bytes(total), bytes(memory)))
}

fn bytes(count: u64) -> String {
    let gib = count as f64 / f64::from(1 << 30);
    if gib >= 1.0 { format!("{gib:.1} GiB") } else { format!("{:.0} MiB", gib * 1024.0) }
}

impl Host {
    /// Its link's speed is of no meaning for one device.
    #[must_use]
    pub fn single(name: &str, memory_bytes: u64, flops: f64) -> Self {
        let link = Link { name: "none".to_owned(), bytes_per_s: f64::INFINITY, latency_s: 0.0 };
        Self { name: name.to_owned(), devices: 1, memory_bytes, flops, link }
    }
}
