//! Writes `proto/src/generated` from `proto/croft/v1/*.proto`, without `protoc`: protox parses, prost and tonic write.
//!
//! `cargo run -p croft-proto-codegen` after a change of the protos; with `--check` it writes nothing and fails when
//! the committed files differ from what it would write.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use prost::Message;

const FILES: [&str; 9] =
    ["types", "jobs", "artifacts", "farm", "dispatch", "identity", "rank", "logs", "usage"];

fn main() -> anyhow::Result<()> {
    let check = std::env::args().any(|a| a == "--check");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("codegen lies in proto/")?;
    let protos: Vec<_> = FILES.iter().map(|f| root.join(format!("croft/v1/{f}.proto"))).collect();
    let descriptors = protox::compile(&protos, [root])?;

    let scratch = std::env::temp_dir().join(format!("croft-codegen-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    fs::write(scratch.join("croft.v1.fds.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .out_dir(&scratch)
        .btree_map(".")
        .bytes(".croft.v1.CreateJobRequest.files")
        .bytes(".croft.v1.PlanJobRequest.files")
        .bytes(".croft.v1.GetArtifactResponse.data")
        .bytes(".croft.v1.PutArtifactRequest.data")
        .bytes(".croft.v1.Assignment.gang_token")
        .bytes(".croft.v1.RankGang.token")
        .bytes(".croft.v1.AttemptFailed.log")
        .bytes(".croft.v1.LogChunk.data")
        .bytes(".croft.v1.RankLog.data")
        .compile_fds(descriptors)?;

    let target = root.join("src/generated");
    for name in ["croft.v1.rs", "croft.v1.fds.bin"] {
        let new = fs::read(scratch.join(name))?;
        let path = target.join(name);
        if check {
            if fs::read(&path).unwrap_or_default() != new {
                bail!("{} differs from the protos: run `cargo run -p croft-proto-codegen`", path.display());
            }
        } else {
            fs::create_dir_all(&target)?;
            fs::write(&path, new)?;
        }
    }
    fs::remove_dir_all(&scratch)?;
    Ok(())
}
