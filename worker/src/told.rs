//! For tests: a rank that is a shell script. A real process on a real socket, that says what it is told to say.

use std::path::Path;

use croft_proto::{
    frame,
    v1::{
        ExitCause, FromRank, RankDone, RankFailed, RankListens, RankProgress, RankReady, Stage, ToRank,
        from_rank::What, to_rank,
    },
};

/// Says that it is ready.
pub(crate) fn ready() -> String {
    say(What::Ready(RankReady { protocol: 1, engine_version: "0.0.1".to_owned() }))
}

/// Waits for the head of the next message, and so for the render.
pub(crate) fn listen() -> String {
    "head -c 4 <&3 >/dev/null".to_owned()
}

/// Waits for whole messages.
pub(crate) fn listen_to(messages: &[to_rank::What]) -> String {
    let mut bytes = Vec::new();
    for what in messages {
        frame::write(&mut bytes, &ToRank { what: Some(what.clone()) }).expect("small");
    }
    format!("head -c {} <&3 >/dev/null", bytes.len())
}

/// Says that the first render is at its first step.
pub(crate) fn step() -> String {
    say(What::Progress(RankProgress { id: 1, stage: Stage::Denoise.into(), step: 1, steps: 2 }))
}

/// Says that the first render can be reached by the others of its gang.
pub(crate) fn listens() -> String {
    say(What::Listens(RankListens { id: 1, address: "127.0.0.1:9".to_owned() }))
}

/// Says that the first render wrote `files`.
pub(crate) fn done(files: &[&str]) -> String {
    done_of(1, files)
}

/// Says that render `id` wrote `files`.
pub(crate) fn done_of(id: u64, files: &[&str]) -> String {
    let files = files.iter().map(|&name| name.to_owned()).collect();
    say(What::Done(RankDone { id, files, peak_memory_bytes: 9, ..RankDone::default() }))
}

/// Says that the first render failed.
pub(crate) fn failed(cause: ExitCause) -> String {
    say(What::Failed(RankFailed { id: 1, cause: cause.into(), ..RankFailed::default() }))
}

/// Stays, and does nothing any more.
pub(crate) fn stay() -> String {
    "exec sleep 600".to_owned()
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> String {
    format!("printf {text} > '{}'", path.display())
}

/// The arguments of `sh`.
pub(crate) fn script(lines: &[String]) -> Vec<String> {
    vec!["-c".to_owned(), lines.join("\n")]
}

fn say(what: What) -> String {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &FromRank { what: Some(what) }).expect("small");
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{octal}' >&3")
}
