//! A rank spoken to over its socket, as a worker does.

use std::{
    collections::BTreeMap, net::Ipv4Addr, os::unix::net::UnixStream, path::Path, thread, time::Duration,
};

use croft_engine::parallel::{Listener, Peer, Roll, Token};
use croft_proto::{
    frame,
    v1::{
        ExitCause, FromRank, OutputPlan, ParamValue, RankCancel, RankDone, RankFailed, RankGang, RankJoin,
        RankRender, Recipe, Residency, SplitMode, Stage, ToRank, from_rank, param_value, to_rank,
    },
};

/// More steps than any test waits for, and no more than a model takes.
const STEPS_MANY: u32 = 500;

struct Rank {
    stream: UnixStream,
    thread: thread::JoinHandle<Result<(), croft_rank::Error>>,
}

impl Rank {
    fn start() -> Self {
        let (mut stream, theirs) = UnixStream::pair().expect("a socket pair");
        let thread = thread::spawn(move || croft_rank::serve(theirs, |_| {}));
        let ready: FromRank = frame::read(&mut stream).expect("whole").expect("it says that it is ready");
        assert!(matches!(ready.what, Some(from_rank::What::Ready(_))));
        Self { stream, thread }
    }

    fn say(&mut self, what: to_rank::What) {
        frame::write(&mut self.stream, &ToRank { what: Some(what) }).expect("it listens");
    }

    /// What it says of each of several renders, until they have ended; by number.
    fn endings(&mut self, ids: &[u64]) -> BTreeMap<u64, Result<RankDone, RankFailed>> {
        self.endings_with_cancel(ids, 0)
    }

    /// The same; render `cancelled` is cancelled after its first step.
    fn endings_with_cancel(
        &mut self,
        ids: &[u64],
        cancelled: u64,
    ) -> BTreeMap<u64, Result<RankDone, RankFailed>> {
        let mut ended = BTreeMap::new();
        while ended.len() < ids.len() {
            let message: FromRank = frame::read(&mut self.stream).expect("whole").expect("it answers");
            match message.what.expect("a known message") {
                from_rank::What::Done(done) => drop(ended.insert(done.id, Ok(done))),
                from_rank::What::Failed(failed) => drop(ended.insert(failed.id, Err(failed))),
                from_rank::What::Progress(at) => {
                    assert!(ids.contains(&at.id), "{at:?}");
                    if (at.id, at.step) == (cancelled, 1) {
                        self.say(to_rank::What::Cancel(RankCancel { id: cancelled }));
                    }
                }
                _ => {}
            }
        }
        ended
    }

    /// The end of the render, and the steps told before it.
    fn ending(&mut self) -> (Result<RankDone, RankFailed>, Vec<u32>) {
        let mut steps = Vec::new();
        loop {
            let message: FromRank = frame::read(&mut self.stream).expect("whole").expect("it answers");
            match message.what.expect("a known message") {
                from_rank::What::Progress(progress) if progress.steps > 0 => steps.push(progress.step),
                from_rank::What::Progress(_) | from_rank::What::Checkpoint(_) => {}
                from_rank::What::Done(done) => return (Ok(done), steps),
                from_rank::What::Failed(failed) => return (Err(failed), steps),
                from_rank::What::Ready(_) => panic!("ready twice"),
                from_rank::What::Listens(_) => panic!("it is alone"),
            }
        }
    }

    /// Whether the render that it was told of begins with opening its model.
    fn opens(&mut self) -> bool {
        let message: FromRank = frame::read(&mut self.stream).expect("whole").expect("it answers");
        match message.what.expect("a known message") {
            from_rank::What::Progress(progress) => progress.stage() == Stage::Load,
            other => panic!("{other:?}"),
        }
    }

    /// Where render `id` can be reached, once the model is loaded.
    fn listens(&mut self, id: u64) -> String {
        loop {
            let message: FromRank = frame::read(&mut self.stream).expect("whole").expect("it answers");
            match message.what.expect("a known message") {
                // Of others, too, that are under way.
                from_rank::What::Progress(progress) if progress.steps == 0 || progress.id != id => {}
                from_rank::What::Listens(at) if at.id == id => return at.address,
                other => panic!("{other:?}"),
            }
        }
    }

    fn end(self) {
        drop(self.stream);
        self.thread.join().expect("no panic").expect("a good end");
    }
}

fn render(id: u64, model: &str, steps: u32, scratch: &Path) -> RankRender {
    let digest = croft_engine::card::card(model).map(|card| card.digest).unwrap_or_default();
    let value = ParamValue { kind: Some(param_value::Kind::Number(f64::from(steps))) };
    RankRender {
        id,
        recipe: Some(Recipe {
            model: model.to_owned(),
            model_digest: digest,
            prompt: "a red circle moving right on a gray background".to_owned(),
            seed: 7,
            params: [("steps".to_owned(), value)].into(),
            output: Some(OutputPlan {
                frames_dir: "clip".to_owned(),
                preview: "clip.mp4".to_owned(),
                png_bits: 8,
                ..OutputPlan::default()
            }),
            ..Recipe::default()
        }),
        scratch: scratch.display().to_string(),
        ..RankRender::default()
    }
}

#[test]
fn two_clips_by_one_warm_model_are_written_and_told() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut rank = Rank::start();
    for id in [1, 2] {
        let folder = scratch.path().join(id.to_string());
        rank.say(to_rank::What::Render(render(id, "builtin://shapes", 2, &folder)));
        let (done, steps) = rank.ending();
        let done = done.expect("it renders");
        assert_eq!((done.id, steps), (id, vec![1, 2]));
        assert!(
            done.files.contains(&"clip/0001.png".to_owned()) && done.files.contains(&"clip.mp4".to_owned())
        );
        assert!(done.files.iter().all(|name| folder.join(name).is_file()), "{:?}", done.files);
    }
    let same = |name: &str| {
        let read = |id: &str| std::fs::read(scratch.path().join(id).join(name)).expect("a file");
        assert_eq!(read("1"), read("2"), "{name}");
    };
    same("clip/0001.png");
    same("clip.mp4");
    rank.end();
}

fn gang(rank: u32, ranks: u32) -> Option<RankGang> {
    let token = vec![9; 32].into();
    Some(RankGang { rank, ranks, token, generation: 5, host: "127.0.0.1".to_owned(), ..RankGang::default() })
}

/// One that has some of the layers.
fn stage(rank: u32, ranks: u32) -> Option<RankGang> {
    Some(RankGang { mode: SplitMode::Layers.into(), ..gang(rank, ranks)? })
}

/// Two ranks that were told of each other, each rendering clip `id` in its folder.
fn two_that_render(ranks: &mut [Rank; 2], id: u64, steps: u32, scratch: &Path) {
    two_that_share(ranks, gang, render(id, "builtin://shapes", steps, scratch));
}

/// The same by any way to share.
fn two_that_share(ranks: &mut [Rank; 2], share: fn(u32, u32) -> Option<RankGang>, clip: RankRender) {
    let (id, scratch) = (clip.id, Path::new(&clip.scratch));
    for (number, rank) in (0..).zip(ranks.iter_mut()) {
        let folder = scratch.join(number.to_string());
        std::fs::create_dir_all(&folder).expect("made");
        let scratch = folder.display().to_string();
        rank.say(to_rank::What::Render(RankRender { gang: share(number, 2), scratch, ..clip.clone() }));
    }
    let addresses: Vec<String> = ranks.iter_mut().map(|rank| rank.listens(id)).collect();
    for rank in ranks {
        rank.say(to_rank::What::Join(RankJoin { id, addresses: addresses.clone() }));
    }
}

#[test]
fn two_ranks_render_one_clip_and_rank_0_alone_writes_it() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut ranks = [Rank::start(), Rank::start()];
    for id in [1, 2] {
        two_that_render(&mut ranks, id, 3, scratch.path());
        let done = ranks.each_mut().map(|rank| rank.ending().0.expect("it renders").files);
        assert!(done[0].contains(&"clip/0001.png".to_owned()), "{done:?}");
        assert!(done[1].is_empty(), "{done:?}");
    }
    let mut alone = Rank::start();
    let folder = scratch.path().join("alone");
    alone.say(to_rank::What::Render(render(1, "builtin://shapes", 3, &folder)));
    alone.ending().0.expect("it renders");
    let size = |at: &Path| std::fs::metadata(at.join("clip/0001.png")).expect("a picture").len();
    let (one, two) = (size(&folder), size(&scratch.path().join("0")));
    assert!(one.abs_diff(two) * 20 < one, "the same picture within rounding: {one} and {two} bytes");
    alone.end();
    ranks.into_iter().for_each(Rank::end);
}

/// A clip of its own seed, in a folder of its own.
fn shot(id: u64, steps: u32, scratch: &Path) -> RankRender {
    let mut shot = render(id, "builtin://shapes", steps, &scratch.join(id.to_string()));
    shot.recipe.as_mut().expect("a recipe").seed = id;
    shot
}

#[test]
fn two_ranks_render_several_clips_at_once_as_they_render_them_alone() {
    const STEPS: u32 = 6;
    let scratch = tempfile::tempdir().expect("scratch");
    let [alone, together] = ["alone", "together"].map(|name| scratch.path().join(name));
    let mut ranks = [Rank::start(), Rank::start()];
    for id in [1, 2] {
        two_that_share(&mut ranks, stage, shot(id, STEPS, &alone));
        for rank in &mut ranks {
            rank.ending().0.expect("it renders");
        }
    }
    for id in [1, 2] {
        two_that_share(&mut ranks, stage, shot(id, STEPS, &together));
    }
    let files = ranks[0].endings(&[1, 2]);
    ranks[1].endings(&[1, 2]).into_values().for_each(|end| drop(end.expect("it renders its part")));
    for (id, end) in files {
        for file in end.expect("it renders").files {
            let read = |of: &Path| std::fs::read(of.join(format!("{id}/0/{file}"))).expect("a file");
            assert_eq!(read(&alone), read(&together), "{file} of clip {id}");
        }
    }
    ranks.into_iter().for_each(Rank::end);
}

#[test]
fn a_cancel_ends_the_clip_that_it_names_and_no_other() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut ranks = [Rank::start(), Rank::start()];
    for (id, steps) in [(1, 3), (2, STEPS_MANY)] {
        two_that_share(&mut ranks, stage, shot(id, steps, scratch.path()));
    }
    for rank in &mut ranks {
        let ended = rank.endings_with_cancel(&[1, 2], 2);
        assert!(ended[&1].is_ok(), "{ended:?}");
        assert_eq!(ended[&2].as_ref().expect_err("it was cancelled").cause(), ExitCause::Cancelled);
    }
    ranks.into_iter().for_each(Rank::end);
}

#[test]
fn a_rank_whose_gang_broke_says_so_and_renders_with_others_again() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut stays = Rank::start();
    let part = RankRender { gang: gang(0, 2), ..render(1, "builtin://shapes", 2, scratch.path()) };
    stays.say(to_rank::What::Render(part));
    let here = Listener::bind(Ipv4Addr::LOCALHOST.into()).expect("a port");
    let addresses = [stays.listens(1), here.address().expect("bound").to_string()];
    let peer = |at: &String| Peer { address: at.parse().expect("an address"), share: 1 };
    let peers = addresses.iter().map(peer).collect();
    stays.say(to_rank::What::Join(RankJoin { id: 1, addresses: addresses.to_vec() }));
    let roll = Roll { rank: 1, peers, token: Token([9; 32]), generation: 5 };
    drop(here.join(&roll, Duration::from_secs(20)).expect("a gang"));
    assert_eq!(stays.ending().0.expect_err("it is alone").cause(), ExitCause::CollectiveTimeout);
    let mut ranks = [stays, Rank::start()];
    two_that_render(&mut ranks, 2, 2, scratch.path());
    for rank in &mut ranks {
        rank.ending().0.expect("it renders");
    }
    ranks.into_iter().for_each(Rank::end);
}

#[test]
fn a_rank_has_as_much_of_a_model_in_memory_as_it_is_told_and_writes_the_same_files() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut rank = Rank::start();
    let mut files = Vec::new();
    let told = [
        Residency::Unspecified,
        Residency::Resident,
        Residency::Streamed,
        Residency::Sequential,
        Residency::Sequential,
    ];
    let mut loads = Vec::new();
    for (id, residency) in (1..).zip(told) {
        let folder = scratch.path().join(id.to_string());
        let render = render(id, "builtin://shapes", 2, &folder);
        rank.say(to_rank::What::Render(RankRender { residency: residency.into(), ..render }));
        loads.push(rank.opens());
        let done = rank.ending().0.expect("it renders");
        files.push(std::fs::read(folder.join("clip/0001.png")).expect("a picture"));
        assert!(done.peak_memory_bytes > 0 || !Path::new("/proc/self/status").exists());
    }
    assert_eq!(loads, [true, false, true, true, false], "what is warm in the same way is kept");
    assert!(files.iter().all(|file| *file == files[0]));
    rank.end();
}

#[test]
fn a_rank_that_waits_for_others_can_be_cancelled() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut rank = Rank::start();
    let part = RankRender { gang: gang(1, 2), ..render(1, "builtin://shapes", 2, scratch.path()) };
    rank.say(to_rank::What::Render(part));
    rank.listens(1);
    rank.say(to_rank::What::Cancel(RankCancel { id: 1 }));
    assert_eq!(rank.ending().0.expect_err("it was cancelled").cause(), ExitCause::Cancelled);
    rank.end();
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut rank = Rank::start();
    rank.say(to_rank::What::Render(render(1, "/no/such/model", 2, scratch.path())));
    let failed = rank.ending().0.expect_err("there is none");
    assert_eq!(failed.cause(), ExitCause::ModelMissing);
    assert!(failed.message.contains("/no/such/model") && !failed.remedy.is_empty(), "{failed:?}");
    rank.end();
}

#[test]
fn other_weights_than_the_job_was_planned_with_are_refused() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut rank = Rank::start();
    let mut changed = render(1, "builtin://shapes", 2, scratch.path());
    changed.recipe.as_mut().expect("a recipe").model_digest = "0".repeat(64);
    rank.say(to_rank::What::Render(changed));
    assert_eq!(rank.ending().0.expect_err("they differ").cause(), ExitCause::ModelCorrupt);
    rank.end();
}

#[test]
fn a_cancel_ends_a_render_after_its_step_and_leaves_the_rank_of_use() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut rank = Rank::start();
    rank.say(to_rank::What::Render(render(1, "builtin://shapes", STEPS_MANY, scratch.path())));
    rank.say(to_rank::What::Cancel(RankCancel { id: 1 }));
    let (ended, steps) = rank.ending();
    assert_eq!(ended.expect_err("it was cancelled").cause(), ExitCause::Cancelled);
    assert!(steps.len() < STEPS_MANY as usize);
    rank.say(to_rank::What::Render(render(2, "builtin://noop", 2, scratch.path())));
    assert_eq!(rank.ending().0.expect("noop").files, Vec::<String>::new());
    rank.end();
}
