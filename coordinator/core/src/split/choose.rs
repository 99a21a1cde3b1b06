//! The choice: what fits, how long a step would take, and the arithmetic in words.

use std::cmp::Ordering;

use super::{Deal, Fleet, Host, Kind, Link, Mode, Need, Part, Residency, Room, Shape, Shot, bytes};

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
    pub deal: Deal,
    /// Of rank 0, which needs most of a whole gang.
    pub need: Need,
    /// Of one step.
    pub compute_s: f64,
    /// In which the weights of a step come to the device, where they stream. Nothing of it is taken to be hidden behind
    /// computing: on a processor it is work for the same cores, and elsewhere nobody has measured it.
    pub upload_s: f64,
    pub communication_s: f64,
    /// Bytes that rank 0 sends in a step.
    pub sent_bytes: f64,
    /// Clips that the fleet renders side by side in this way.
    pub side_by_side: u32,
    /// Why it is not to be had.
    pub refused: Option<String>,
}

impl Way {
    #[must_use]
    pub fn step_s(&self) -> f64 {
        self.compute_s + self.upload_s + self.communication_s
    }

    /// What a step of all `shots` takes, those that find no place waiting for the others.
    fn all_s(&self, shots: u64) -> f64 {
        shots.max(1).div_ceil(u64::from(self.side_by_side.max(1))) as f64 * self.step_s()
    }
}

/// What a layer says of its split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// The only way that is looked at; slow links do not speak against it.
    pub mode: Option<Mode>,
    /// So many ranks and no other number.
    pub ranks: Option<u32>,
    /// Devices that would stand idle may be used as well.
    pub hurries: bool,
    /// No ranks on several hosts.
    pub same_host: bool,
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

/// Looks at one device, then at each way to split within a host and across hosts, and takes what has the `shots` that wait
/// done soonest. What fits one device without streaming its weights is split only for a layer that `hurries` and has fewer
/// shots than there are devices.
#[must_use]
pub fn choose(shape: &Shape, shot: &Shot, fleet: &Fleet, shots: u64, wish: Wish) -> Choice {
    let table = Table { shape, shot, fleet, shots };
    let mut ways = Vec::new();
    if wish.ranks.is_none_or(|ranks| ranks == 1) {
        ways.extend(fleet.hosts.iter().filter_map(|host| table.alone(host)).min_by(|a, b| table.order(a, b)));
    }
    let fits_one = ways.iter().any(|way| way.refused.is_none() && way.deal.residency != Residency::Streamed);
    let is_hurried = wish.hurries && shots < u64::from(fleet.devices());
    let modes = Mode::ALL.into_iter().filter(|mode| wish.mode.is_none_or(|asked| asked == *mode));
    for mode in modes.filter(|_| wish.ranks != Some(1)) {
        // Splitting what fits costs the others their devices: worth it for a single step's two branches alone.
        if fits_one && !(mode == Mode::Guidance && is_hurried) {
            continue;
        }
        let hosts = fleet.hosts.iter().filter_map(|host| table.split(mode, std::slice::from_ref(host), wish));
        ways.extend(hosts.min_by(|a, b| table.order(a, b)));
        // Ranks of several kinds have nothing to say to each other.
        for kind in Kind::FASTEST_FIRST {
            let alike: Vec<Host> = fleet.hosts.iter().filter(|host| host.kind == kind).cloned().collect();
            if alike.len() > 1 && !wish.same_host {
                ways.extend(table.split(mode, &alike, wish));
            }
        }
    }
    let best = (0..ways.len())
        .filter(|at| ways[*at].refused.is_none())
        .min_by(|a, b| table.order(&ways[*a], &ways[*b]));
    let chosen = best.map(|at| ways.remove(at));
    let words = table.words(chosen.as_ref(), &ways);
    Choice { chosen, others: ways, words }
}

struct Table<'a> {
    shape: &'a Shape,
    shot: &'a Shot,
    fleet: &'a Fleet,
    shots: u64,
}

impl Table<'_> {
    fn order(&self, a: &Way, b: &Way) -> Ordering {
        let key = |way: &Way| (way.refused.is_some(), way.all_s(self.shots), way.step_s(), way.ranks);
        key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal)
    }

    fn alone(&self, host: &Host) -> Option<Way> {
        let rooms = host.rooms();
        let largest = *rooms.first()?;
        let holds = |room: &Room| self.shape.deal(self.shot, Mode::Tensor, &[*room]).is_some();
        let deal = self.shape.deal(self.shot, Mode::Tensor, &[largest]);
        let operations = self.shape.operations(self.shot) * self.shot.branches() as f64;
        // Every device of the fleet that holds it takes shots of its own.
        let all = self.fleet.hosts.iter().flat_map(Host::rooms).filter(holds).count() as u32;
        Some(self.way(
            None,
            &[largest],
            deal,
            host,
            Way {
                compute_s: operations / host.flops,
                place: format!("a device of {}", host.name),
                side_by_side: all,
                ..blank()
            },
        ))
    }

    /// Over as many devices of `hosts` as is best; where none are enough, over as many as there are, refused.
    fn split(&self, mode: Mode, hosts: &[Host], wish: Wish) -> Option<Way> {
        let mut rooms: Vec<Room> = hosts.iter().flat_map(Host::rooms).collect();
        rooms.sort_by_key(Room::order);
        let most = (rooms.len() as u32).min(match mode {
            Mode::Tensor => self.shape.heads.min(self.shape.text_heads),
            Mode::Layers => self.shape.layers.min(self.shape.text_heads),
            Mode::Guidance if self.shot.is_guided => super::GUIDANCE_RANKS,
            Mode::Guidance => return None,
        });
        let slowest = hosts.iter().min_by(|a, b| a.flops.total_cmp(&b.flops))?;
        let (link, place) = match hosts {
            [host] => (&host.link, format!("{} over {}", host.name, host.link.name)),
            hosts => (&self.fleet.between, format!("{} hosts over {}", hosts.len(), self.fleet.between.name)),
        };
        let degrees = (2..=most).filter(|ranks| wish.ranks.is_none_or(|asked| asked == *ranks));
        let ways: Vec<Way> = degrees
            .map(|ranks| {
                let rooms = &rooms[..ranks as usize];
                let deal = self.shape.deal(self.shot, mode, rooms);
                let (compute_s, communication_s, sent_bytes) =
                    self.step(mode, ranks, &deal, (slowest.kind, slowest.flops), link);
                let side_by_side = hosts.iter().map(|host| host.devices.len() as u32).sum::<u32>() / ranks;
                let mut way = self.way(
                    Some(mode),
                    rooms,
                    deal,
                    slowest,
                    Way {
                        place: place.clone(),
                        compute_s,
                        communication_s,
                        sent_bytes,
                        side_by_side,
                        ..blank()
                    },
                );
                if wish.mode.is_none() && wish.ranks.is_none() {
                    refuse_slow(&mut way);
                }
                way
            })
            .collect();
        // The most ranks come closest where none are enough.
        let none = ways.iter().all(|way| way.refused.is_some());
        let by = |a: &Way, b: &Way| if none { b.ranks.cmp(&a.ranks) } else { self.order(a, b) };
        ways.into_iter().min_by(by)
    }

    /// `way` with what follows from its devices.
    fn way(&self, mode: Option<Mode>, rooms: &[Room], deal: Option<Deal>, host: &Host, way: Way) -> Way {
        let fits = deal.is_some();
        let equal = vec![1; rooms.len()];
        let deal = deal.unwrap_or(Deal { residency: Residency::Streamed, shares: equal });
        let part = Part { mode: mode.unwrap_or_default(), rank: 0, shares: &deal.shares, clips: 1 };
        let need = self.shape.need(self.shot, &part, deal.residency, rooms[0].kind);
        // Branches that follow each other through a rank's layers ask for their weights once each.
        let passes = if mode == Some(Mode::Layers) { self.shot.branches() } else { 1 };
        let upload_s = match deal.residency {
            Residency::Resident | Residency::Sequential => 0.0,
            Residency::Streamed => {
                (passes * self.shape.streamed_bytes(&part, rooms[0].kind)) as f64 / host.upload_bytes_per_s
            }
        };
        let refused = (!fits).then(|| {
            let memory = rooms.iter().map(|room| room.memory_bytes).min().unwrap_or(0);
            format!("it needs {} of a device's {}, even streamed", bytes(need.total()), bytes(memory))
        });
        Way { mode, ranks: rooms.len() as u32, deal, need, upload_s, refused, ..way }
    }

    /// Seconds of computing and of moving in one step, and the bytes that a rank sends.
    fn step(
        &self,
        mode: Mode,
        ranks: u32,
        deal: &Option<Deal>,
        (kind, flops): (Kind, f64),
        link: &Link,
    ) -> (f64, f64, f64) {
        let (n, branches) = (f64::from(ranks), self.shot.branches() as f64);
        let branch_s = self.shape.operations(self.shot) / flops;
        let tokens = self.shape.tokens(self.shot) as f64;
        let layers = f64::from(self.shape.layers);
        let number_bytes = kind.number_bytes();
        let activation = tokens * f64::from(self.shape.width) * number_bytes as f64;
        let velocity = tokens * f64::from(self.shape.channels) * 4.0;
        match mode {
            Mode::Tensor => {
                // What each rank sends of a sum: its parts to the others, then what it has summed.
                let share = 2.0 * (n - 1.0) / n;
                let norms = 2.0 * tokens * 4.0;
                let sent = share * layers * branches * (SUMS * activation + NORM_SUMS * norms);
                let messages = 2.0 * layers * (SUMS + NORM_SUMS);
                // Whoever has most of the heads is waited for.
                let shares = deal.as_ref().map_or(&[1_u32][..], |deal| &deal.shares);
                let total: u32 = shares.iter().sum();
                let most = f64::from(shares.iter().copied().max().unwrap_or(1)) / f64::from(total.max(1));
                let most = if shares.len() == 1 { 1.0 / n } else { most };
                (branches * branch_s * most, link.seconds(sent, messages), sent)
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
        let kind = self.fleet.hosts.first().map_or(Kind::Gpu, |host| host.kind);
        let whole = self.shape.need(self.shot, &Part::WHOLE, Residency::Resident, kind);
        let mut words = vec![format!(
            "{tokens} tokens x {} branches, {:.1} T operations a step; weights {} in all; {} shots wait",
            self.shot.branches(),
            operations / 1e12,
            bytes(whole.encode.weights),
            self.shots,
        )];
        words.extend(others.iter().map(|way| {
            let slower = || match way.side_by_side {
                0 | 1 => format!("a step takes {:.2} s", way.step_s()),
                many => format!("a step takes {:.2} s, {many} side by side", way.step_s()),
            };
            format!("not {}: {}", told(way), way.refused.clone().unwrap_or_else(slower))
        }));
        words.push(match chosen {
            Some(way) => format!("best {}: {}", told(way), arithmetic(way)),
            None => "nothing fits: ask for fewer frames or pixels, set vae_tiling: true, or offer larger or more devices"
                .to_owned(),
        });
        words
    }
}

fn blank() -> Way {
    Way {
        mode: None,
        ranks: 1,
        place: String::new(),
        deal: Deal { residency: Residency::Resident, shares: vec![1] },
        need: Need {
            encode: super::Phase::default(),
            denoise: super::Phase::default(),
            decode: super::Phase::default(),
            reserve: 0,
        },
        compute_s: 0.0,
        upload_s: 0.0,
        communication_s: 0.0,
        sent_bytes: 0.0,
        side_by_side: 1,
        refused: None,
    }
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

fn told(way: &Way) -> String {
    match way.mode {
        None => format!("whole and {} on {}", way.deal.residency.name(), way.place),
        Some(mode) => {
            let is_even = way.deal.shares.iter().all(|share| *share == way.deal.shares[0]);
            let shares: Vec<String> = way.deal.shares.iter().map(u32::to_string).collect();
            let uneven = if is_even { String::new() } else { format!(" ({} heads)", shares.join(" + ")) };
            format!("{} over {} devices{uneven}, {}", mode.name(), way.ranks, way.place)
        }
    }
}

fn arithmetic(way: &Way) -> String {
    let mut words = format!(
        "{}, {} a device; a step computes {:.2} s",
        way.deal.residency.name(),
        way.need.words(),
        way.compute_s,
    );
    if way.upload_s > 0.0 {
        words += &format!(", its weights come in {:.2} s", way.upload_s);
    }
    if way.mode.is_some() {
        let (sent, moving) = (bytes(way.sent_bytes as u64), way.communication_s);
        words += &format!(", moves {sent} in {moving:.2} s");
    }
    words += &format!(": {:.2} s", way.step_s());
    if way.side_by_side > 1 {
        words += &format!(", {} shots side by side", way.side_by_side);
    }
    words
}
