//! What a model costs in memory and time, in each residency and over one and two ranks. Each case has processes of its own.
//!
//!     cargo run --release -p croft-rank --example memory -- MODEL [--alone] [NAME=VALUE …]
//!
//! `NAME=VALUE` are parameters of the render; `--alone` leaves out the splits. Every case renders a clip and then the same again, whose prompts are
//! remembered; peaks are the system's high-water marks of each rank during one of the two. The last column says whether
//! frames and preview are the same bytes as of ranks with the same split that keep everything.
#![allow(clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use croft_engine::card::card;
use croft_proto::{
    frame,
    v1::{
        FromRank, OutputPlan, ParamValue, RankDone, RankGang, RankJoin, RankRender, Recipe, Residency,
        SplitMode, ToRank, from_rank, param_value::Kind, to_rank,
    },
};

type Failure = Box<dyn std::error::Error>;
/// The files of a clip by name.
type Clip = BTreeMap<String, Vec<u8>>;

/// One clip of a case.
struct Seen {
    clip: Clip,
    seconds: f64,
    /// Of each rank.
    peaks: Vec<u64>,
}

const SPLITS: [(&str, u32, SplitMode); 4] = [
    ("one rank", 1, SplitMode::Unspecified),
    ("2 by tensor", 2, SplitMode::Tensor),
    ("2 by layers", 2, SplitMode::Layers),
    ("2 by guidance", 2, SplitMode::Guidance),
];
const CLIPS: u64 = 2;
const MIB: f64 = 1024.0 * 1024.0;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        // A rank: its socket is where others have their standard input.
        [rank] if rank == "rank" => {
            let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
            Ok(croft_rank::serve(UnixStream::from(socket), |_| std::process::exit(0))?)
        }
        [model, alone, params @ ..] if alone == "--alone" => table(model, &SPLITS[..1], params),
        [model, params @ ..] => table(model, &SPLITS, params),
        [] => Err("which model? A folder in the diffusers layout, or builtin://NAME".into()),
    }
}

fn table(model: &str, splits: &[(&str, u32, SplitMode)], params: &[String]) -> Result<(), Failure> {
    let card = card(model)?;
    println!(
        "{}: {} M numbers; text {} M, blocks {} M, rest {} M, decoder {} M; {} layers\n",
        card.name,
        card.parameters / 1_000_000,
        card.shape.text / 1_000_000,
        card.shape.blocks / 1_000_000,
        card.shape.rest / 1_000_000,
        card.shape.decoder / 1_000_000,
        card.shape.layers
    );
    let recipe = Recipe {
        model: model.to_owned(),
        model_digest: card.digest,
        prompt: "a red circle moving right on a blue background".to_owned(),
        negative_prompt: "blurry".to_owned(),
        seed: 42,
        params: params.iter().map(|param| value(param)).collect::<Result<_, _>>()?,
        output: Some(OutputPlan { frames_dir: "clip".to_owned(), png_bits: 16, ..OutputPlan::default() }),
        ..Recipe::default()
    };
    println!("| split | residency | peak MiB of each rank | of the next clip | s | next, s | same bytes |");
    println!("|---|---|---|---|---|---|---|");
    for &(split, ranks, mode) in splits {
        let mut resident = None;
        for residency in [Residency::Resident, Residency::Sequential, Residency::Streamed] {
            let seen = case(&recipe, ranks, mode, residency)?;
            let name = residency.as_str_name().trim_start_matches("RESIDENCY_").to_lowercase();
            let shown = |seen: &Seen| {
                let mib = seen.peaks.iter().map(|bytes| format!("{:.0}", *bytes as f64 / MIB));
                mib.collect::<Vec<_>>().join(", ")
            };
            let resident = resident.get_or_insert_with(|| seen[0].clip.clone());
            let same = if seen.iter().all(|seen| seen.clip == *resident) { "yes" } else { "NO" };
            let [first, next] = [&seen[0], &seen[1]];
            println!(
                "| {split} | {name} | {} | {} | {:.2} | {:.2} | {same} |",
                shown(first),
                shown(next),
                first.seconds,
                next.seconds
            );
        }
    }
    Ok(())
}

/// `steps=4`, `size=512x320`, `vae_tiling=true`.
fn value(param: &str) -> Result<(String, ParamValue), Failure> {
    let (name, value) = param.split_once('=').ok_or_else(|| format!("{param} is not NAME=VALUE"))?;
    let kind = match (value.parse(), value.parse()) {
        (Ok(number), _) => Kind::Number(number),
        (_, Ok(flag)) => Kind::Flag(flag),
        _ => Kind::Text(value.to_owned()),
    };
    Ok((name.to_owned(), ParamValue { kind: Some(kind) }))
}

/// The clips one after the other, by fresh processes; seconds and the peak of each rank for each.
fn case(recipe: &Recipe, count: u32, mode: SplitMode, residency: Residency) -> Result<Vec<Seen>, Failure> {
    let scratch = tempfile::tempdir()?;
    let mut ranks = (0..count).map(|_| Rank::start()).collect::<Result<Vec<_>, _>>()?;
    let mut seen = Vec::new();
    for id in 1..=CLIPS {
        let began = Instant::now();
        let folder = scratch.path().join(id.to_string());
        for (number, rank) in (0..).zip(&mut ranks) {
            let gang = (count > 1).then(|| RankGang {
                rank: number,
                ranks: count,
                token: vec![9; 32].into(),
                generation: id,
                host: "127.0.0.1".to_owned(),
                mode: mode.into(),
                ..RankGang::default()
            });
            rank.say(to_rank::What::Render(RankRender {
                id,
                recipe: Some(recipe.clone()),
                scratch: folder.display().to_string(),
                gang,
                residency: residency.into(),
                ..RankRender::default()
            }))?;
        }
        if count > 1 {
            let addresses = ranks.iter_mut().map(Rank::listens).collect::<Result<Vec<_>, _>>()?;
            for rank in &mut ranks {
                rank.say(to_rank::What::Join(RankJoin { id, addresses: addresses.clone() }))?;
            }
        }
        let done = ranks.iter_mut().map(Rank::done).collect::<Result<Vec<_>, _>>()?;
        seen.push(Seen {
            seconds: began.elapsed().as_secs_f64(),
            clip: done[0].files.iter().map(|name| read(&folder, name)).collect::<Result<_, _>>()?,
            peaks: done.iter().map(|done| done.peak_memory_bytes).collect(),
        });
    }
    Ok(seen)
}

fn read(folder: &Path, name: &str) -> Result<(String, Vec<u8>), Failure> {
    Ok((name.to_owned(), fs::read(folder.join(name))?))
}

/// A process, spoken to as a worker does.
struct Rank {
    stream: UnixStream,
    process: Child,
}

impl Rank {
    fn start() -> Result<Self, Failure> {
        let (stream, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("rank").env("RAYON_NUM_THREADS", "1");
        let process = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        Ok(Self { stream, process })
    }

    fn say(&mut self, what: to_rank::What) -> Result<(), Failure> {
        Ok(frame::write(&mut self.stream, &ToRank { what: Some(what) })?)
    }

    fn hear(&mut self) -> Result<from_rank::What, Failure> {
        let message: FromRank = frame::read(&mut self.stream)?.ok_or("a rank went away")?;
        match message.what.ok_or("an unknown message")? {
            from_rank::What::Failed(failed) => Err(format!("{}; {}", failed.message, failed.remedy).into()),
            what => Ok(what),
        }
    }

    fn listens(&mut self) -> Result<String, Failure> {
        loop {
            if let from_rank::What::Listens(at) = self.hear()? {
                return Ok(at.address);
            }
        }
    }

    fn done(&mut self) -> Result<RankDone, Failure> {
        loop {
            if let from_rank::What::Done(done) = self.hear()? {
                return Ok(done);
            }
        }
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        // Without its socket it ends by itself; this does not wait for the end of a step.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
