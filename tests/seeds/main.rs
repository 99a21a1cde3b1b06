//! The seeds of the fuzz targets through the same functions, without a fuzzer: what is committed there holds on every
//! machine, and a target that is broken shows before somebody fuzzes with it.

#[allow(unreachable_pub, reason = "it is a library of its own")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;
mod make;

use std::{collections::BTreeSet, fs, path::Path};

use fuzz::{TARGETS, messages};
use prost::Message;

#[test]
fn every_seed_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there: BTreeSet<String> = fs::read_dir(&root)
        .expect("seeds")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a word"))
        .collect();
    assert_eq!(there, known, "each target has seeds");
    for (target, run) in TARGETS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut seeds: Vec<_> = fs::read_dir(root.join(target))
            .expect("seeds")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        seeds.sort();
        for seed in seeds {
            let input = fs::read(&seed).expect("a seed");
            println!("{}", seed.display());
            run(folder.path(), &input);
            // Cut anywhere it is refused, and no more than that.
            for cut in [input.len() / 3, input.len() / 2, input.len().saturating_sub(1)] {
                run(folder.path(), &input[..cut]);
            }
        }
    }
}

#[test]
fn every_message_of_the_protocol_is_fuzzed() {
    let files = prost_types::FileDescriptorSet::decode(croft_proto::DESCRIPTORS).expect("descriptors");
    let ours = files.file.iter().filter(|file| file.package() == "croft.v1");
    let all: BTreeSet<&str> =
        ours.flat_map(|file| &file.message_type).map(|message| message.name()).collect();
    let listed: BTreeSet<&str> = messages::NAMES.iter().copied().collect();
    assert_eq!(listed.len(), messages::NAMES.len(), "each once");
    assert_eq!(listed, all, "tests/fuzz/src/messages.rs lists them");
}

#[test]
fn a_message_in_a_message_is_only_ever_an_entry_of_a_map() {
    let files = prost_types::FileDescriptorSet::decode(croft_proto::DESCRIPTORS).expect("descriptors");
    for message in files.file.iter().flat_map(|file| &file.message_type) {
        let entries =
            message.nested_type.iter().all(|nested| nested.options.as_ref().is_some_and(|o| o.map_entry()));
        assert!(entries, "{}: list what lies in it as well", message.name());
    }
}
