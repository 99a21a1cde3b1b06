//! A rank spoken to over its socket, as a worker does.

use std::{os::unix::net::UnixStream, path::Path, thread};

use croft_proto::{
    frame,
    v1::{
        ExitCause, FromRank, OutputPlan, ParamValue, RankCancel, RankDone, RankFailed, RankRender, Recipe,
        ToRank, from_rank, param_value, to_rank,
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
